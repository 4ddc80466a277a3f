"""Real servers whose worker retires by itself: its stream ends on a frame with its own retry, and the next worker resumes it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from sse_bridge import Bridge
from tests.support.http_stream import HTTPStream
from tests.support.servers import Server, serve
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for

ASGI, WSGI = "tests.faults.site:app", "tests.faults.wsgi_site:app"


class Way(NamedTuple):
    """How a worker comes to retire.

    Attributes:
        kind: of server.
        app: its site.
        arguments: its own; {file} is a module that is changed, where one is.
        seconds: until it has retired, at most.
    """

    kind: str
    app: str
    arguments: Sequence[str]
    seconds: float = 30


REQUESTS = ("--max-requests", "10")  # the next worker serves those that wait meanwhile, and must not retire over them
RELOAD = ("--reload", "--reload-extra-file", "{file}")
LIFETIME = ("--workers-lifetime", "60")  # the least that it takes
MEMORY = ("--workers-max-rss", "1", "--rss-sample-interval", "20")  # every worker has more, at its first look
LONG = (pytest.mark.soak, pytest.mark.slow)  # a command line that says -m "not slow" takes back the "not soak"
WAYS = [
    pytest.param(Way("gunicorn-uvicorn", ASGI, REQUESTS), id="gunicorn, uvicorn's worker, max-requests"),
    # slow, so that tox leaves them out: the oldest gunicorn there has no asgi worker
    pytest.param(Way("gunicorn-asgi", ASGI, REQUESTS), id="gunicorn, asgi, max-requests", marks=pytest.mark.slow),
    pytest.param(Way("gunicorn-asgi", ASGI, RELOAD), id="gunicorn, asgi, reload", marks=pytest.mark.slow),
    pytest.param(Way("gunicorn-gevent", WSGI, RELOAD), id="gunicorn, gevent, reload", marks=pytest.mark.slow),
    pytest.param(Way("granian", ASGI, LIFETIME, 90), id="granian, workers-lifetime", marks=LONG),
    pytest.param(Way("granian", ASGI, MEMORY, 60), id="granian, workers-max-rss", marks=LONG),
]


@pytest.mark.needs("redis7")
@pytest.mark.parametrize("way", WAYS)
def test_the_stream_is_told_and_the_next_worker_serves(way: Way, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "watched.py"
    file.touch()
    prefix = f"retire{os.urandom(4).hex()}"
    env = {"SSE_BRIDGE_URL": redis_url, "SSE_BRIDGE_PREFIX": prefix, "SSE_BRIDGE_DRAIN_SECONDS": "0.2"}
    arguments = [part.format(file=file) for part in way.arguments]
    with (
        Bridge(redis_url, prefix=prefix) as bridge,
        serve(way.kind, way.app, env=env, arguments=arguments, seconds=60) as server,
    ):
        address = f"{server.url}/events/?channel=a"
        with SSEClient(address, seconds=60) as client:
            client.take(1, 60)
            bridge.publish("a", 1)
            assert [frame.data for frame in client.take(1)] == ["1"]
            wait_for(lambda: _retires(way, server, file, client), way.seconds, what="the stream to end")
            last = client.frames[-1]
            assert (last.event, last.data, client.ended) == ("stream.close", '{"reason":"drain"}', "complete")
            assert last.retry is not None
        bridge.publish("a", 2)
        with wait_for(lambda: _comes_back(address, client.last_event_id), 60, what="the next worker") as again:
            assert [frame.data for frame in again.take(2) if frame.event == "message"] == ["2"]


def _retires(way: Way, server: Server, file: Path, client: SSEClient) -> bool:
    """Does what lets the worker retire once more; whether the stream has ended."""
    if "--max-requests" in way.arguments:
        with contextlib.suppress(OSError, AssertionError):  # nobody serves for a moment
            HTTPStream(f"{server.url}/counts", {"Connection": "close"}, seconds=1).close()
    elif "--reload" in way.arguments:
        stamp = time.time() + 10
        os.utime(file, (stamp, stamp))
    client.read(0.2)
    return bool(client.ended)


def _comes_back(address: str, last_event_id: str) -> SSEClient | None:
    try:
        client = SSEClient(address, last_event_id=last_event_id, seconds=20)
    except (OSError, AssertionError):
        return None
    if client.status == 200:
        return client
    client.close()
    return None
