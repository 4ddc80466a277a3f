"""A token in the address, where the setting allows it, stands in no line that a server with our filter writes.

Our own loggers are at DEBUG, and the servers write their access logs. Through every adapter, a stream that opens, one that is
refused, and a WebSocket of either kind.
"""

from __future__ import annotations

import contextlib

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.security.conftest import ASGI, WAYS, WSGI, Site
from tests.support.http_stream import HTTPStream
from tests.support.servers import serve
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for

ARGUMENTS = {
    ASGI: [],
    WSGI: ["--access-logfile", "-", "--threads", "16"],
    "hypercorn": ["--access-logfile", "-"],
    "daphne": ["--verbosity", "0"],  # its access log does not go through logging, so that switches it off
}
ADAPTERS = {
    **{kind: [adapter for server, adapter in WAYS if server == kind] for kind in (ASGI, WSGI)},
    "hypercorn": ["asgi", "channels"],
    "daphne": ["asgi", "channels"],
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_no_log_line_holds_a_token(site: Site, channel: str, kind: str) -> None:
    app = f"tests.security.site:{'wsgi' if kind == WSGI else 'asgi'}"
    env = {**site.env, "SSE_BRIDGE_TOKEN_IN_URL": "true", "SSE_BRIDGE_DEBUG": "true", "SITE_LOGS": "1"}
    good = site.bridge.token(channel, "7")
    forged = site.bridge.token(channel, "8")[:-3] + "abc"
    site.bridge.publish(channel, "before")
    with serve(kind, app, env=env, arguments=ARGUMENTS[kind], seconds=60) as server:
        for adapter in ADAPTERS[kind]:
            url = f"{server.url}/{adapter}/token?channel={channel}&last=1"
            with SSEClient(f"{url}&token={good}") as client:
                assert client.status == 200, adapter
                assert [frame.event for frame in client.take(2)] == ["stream.open", "message"], adapter
            for refused, query in ((401, forged), (403, f"{good}&channel=other"), (400, f"{good}&channel=%20")):
                with HTTPStream(f"{url}&token={query}") as answer:
                    assert answer.status == refused, adapter
                    text = answer.read_all(60)
                assert not [part for token in (good, forged) for part in token.split(".") if part.encode() in text]
            if adapter in ("asgi", "channels") and kind != WSGI:
                with connect(f"{url}&token={good}".replace("http:", "ws:")) as socket:
                    assert "stream.open" in str(socket.recv(timeout=60))
                with contextlib.suppress(InvalidStatus), connect(f"{url}&token={forged}".replace("http:", "ws:")):
                    raise AssertionError("a forged token opened a WebSocket")
        # each request is a line, whatever the server writes of its query
        asked = 0 if kind == "daphne" else 4 * len(ADAPTERS[kind])
        wait_for(lambda: server.output.count("/token") >= asked, what=f"{asked} lines of the access log")
        for token in (good, forged):
            for part in token.split(".")[1:]:
                assert part not in server.output
