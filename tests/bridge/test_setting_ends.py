"""Each number works at both of its ends, on both backends and in both colours: events arrive, streams open, all is given back."""

from __future__ import annotations

import asyncio
import time
import uuid
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.errors import BackendError
from sse_bridge.streams import Grant, Ping, StreamRequest, WebSocketScript, stream_channels
from tests.support.wait import await_for, wait_for
from tests.test_settings import NUMBERS, bounds

# What must be set besides a number for it to count, or to stand at its end.
BESIDES: dict[str, dict[str, Any]] = {
    "retry_min_ms-1": {"retry_max_ms": bounds("retry_max_ms")[1]},
    "retry_max_ms-0": {"retry_min_ms": bounds("retry_min_ms")[0]},
    "compression": {"compression": "gzip"},
    "spool": {"on_unavailable": "spool"},
    "dead_letter": {"on_unavailable": "spool"},
    "block_timeout": {"policy": "block"},
    "queue_size": {"policy": "drop_oldest"},
    "max_streams_per_user": {"over_limit": "reject"},
}


def besides(name: str, end: int, backend: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for begin, settings in BESIDES.items():
        if f"{name}-{end}".startswith(begin) and not (backend == "redis" and "block" in settings.values()):
            found.update(settings)
    return found


@pytest.mark.parametrize("url", ["memory://", "redis"])
@pytest.mark.parametrize("end", [0, 1], ids=["least", "most"])
@pytest.mark.parametrize("name", NUMBERS)
def test_events_arrive(name: str, end: int, url: str, request: pytest.FixtureRequest) -> None:
    address = request.getfixturevalue("redis_url") if url == "redis" else url
    settings = {name: bounds(name)[end], **besides(name, end, url)}
    size = min(60_000, settings.get("max_event_bytes", 60_000) - 2)
    with Bridge(address, prefix=f"t{uuid.uuid4().hex[:12]}", **settings) as bridge:
        by_threads(bridge, size)
        attempted(lambda: bridge.revoke(channel="other"))  # for max_stream_seconds
        asyncio.run(by_tasks(bridge))


def by_threads(bridge: Bridge, size: int) -> None:
    with bridge.subscribe("a") as stream:
        assert stream.wait_ready(60)
        published(bridge, 1)
        event = stream.next(60)
        assert event is not None
        assert event.data == 1
        published(bridge, "x" * size)
        event = stream.next(60)
        assert event is not None
        assert len(event.data) == size
    for format in ("sse", "ndjson"):
        request = StreamRequest(format=format, accept_encoding="gzip")
        response = stream_channels(bridge, "a", request, grant=Grant(user="7"))
        assert response.bodies is not None
        body = response.bodies.sync_body()
        first = next(body)
        if ("Content-Encoding", "gzip") in response.headers:
            first = zlib.decompressobj(wbits=31).decompress(first)
        assert b"stream.open" in first
        body.close()
    session = WebSocketScript(bridge, time.monotonic())
    assert session.received('{"type": "ping"}', time.monotonic()) == Ping()


async def by_tasks(bridge: Bridge) -> None:
    async with bridge.asubscribe("a") as stream:
        assert await stream.wait_ready(60)
        await asyncio.to_thread(published, bridge, 2)
        event = await stream.next(60)
        assert event is not None
        assert event.data == 2
    await await_for(lambda: history(bridge), what="an answer in time")
    body = stream_channels(bridge, "a", StreamRequest()).bodies.async_body()  # type: ignore[union-attr]
    async for piece in body:
        assert b"stream.open" in piece
        break
    body.close()
    await bridge.aclose()


async def history(bridge: Bridge) -> bool:
    try:
        await bridge.ahistory("a")
    except BackendError:
        return False
    return True


def published(bridge: Bridge, data: Any) -> None:
    """Once, although an attempt whose answer came too late is made again."""
    key = uuid.uuid4().hex
    attempted(lambda: bridge.publish("a", data, idempotency_key=key))


def attempted(call: Callable[[], Any]) -> None:
    """With a deadline of 0.1 s a machine under load may need another attempt."""

    def done() -> bool:
        try:
            call()
        except BackendError:
            return False
        return True

    wait_for(done, what="an answer in time")
