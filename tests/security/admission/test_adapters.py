"""Every ASGI adapter under a real server: an expired login, credentials that expire, one stream too many, revoked."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from sse_bridge import Bridge
from tests.security.admission.conftest import Site, Sites, reason
from tests.support.requires import needs_redis7
from tests.support.servers import serve
from tests.support.sse_client import SSEClient

pytestmark = needs_redis7

HELD_BACK = (
    "starlette",
    "channels",
    "django-handoff",
    "flask-handoff",
)  # the head leaves when it is known who may stay


@pytest.fixture(scope="module")
def shared(redis_url: str) -> Iterator[tuple[Site, Bridge]]:
    with ExitStack() as stack:
        sites = Sites(redis_url, stack)
        env = {"SSE_BRIDGE_URL": redis_url, "SSE_BRIDGE_PREFIX": sites.prefix, "SSE_BRIDGE_MAX_STREAMS_PER_USER": "1",
               "SSE_BRIDGE_DRAIN_SECONDS": "0.2"}  # fmt: skip
        server = stack.enter_context(
            serve("uvicorn", "tests.security.admission.adapters_site:app", env=env, seconds=60)
        )
        yield Site(server, stack), sites.bridge()


@pytest.mark.parametrize("adapter", [*HELD_BACK, "django"])
def test_an_adapter(shared: tuple[Site, Bridge], adapter: str) -> None:
    site, bridge = shared
    user = f"ada-{adapter}"

    def request(user: str, query: str = "") -> SSEClient:
        address = f"{site.server.url}/{adapter}/?channel=a&user={user}{query}"
        return site._stack.enter_context(SSEClient(address, seconds=30))

    assert request("expired").status == 401
    assert request("expired", "&after=earliest").status == 401
    assert request(user, "&expires=-1").status == 401
    assert reason(request(user, "&expires=1")) == "expired"
    first = request(user)
    assert first.take(1)[0].event == "stream.open"
    second = request(user)
    assert second.take(1)[0].event == "stream.open"
    assert reason(first) == "replaced"
    bridge.revoke(user=user)
    assert reason(second) == "revoked"
    assert request(user).status == 403


def test_a_websocket_of_channels(shared: tuple[Site, Bridge]) -> None:
    site, bridge = shared

    def ending(socket: Any) -> tuple[str, int]:
        last: dict[str, Any] = {}
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                last = json.loads(socket.recv(60))
        assert closed.value.rcvd is not None
        return last["data"]["reason"], closed.value.rcvd.code

    address = site.server.url.replace("http", "ws") + "/channels-websocket/?channel=a&user="
    direct: dict[str, Any] = (
        {"proxy": None} if "proxy" in inspect.signature(connect).parameters else {}
    )  # websockets 15
    with connect(address + "ada-ws&expires=1", **direct) as socket:
        assert ending(socket) == ("expired", 4401)
    with connect(address + "ada-ws", **direct) as first, connect(address + "ada-ws", **direct) as second:
        assert ending(first) == ("replaced", 4409)
        assert json.loads(second.recv(60))["type"] == "stream.open"
        bridge.revoke(user="ada-ws")
        assert ending(second) == ("revoked", 4403)
