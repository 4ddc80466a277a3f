"""How a stream of a source ends: failures at each point, drains, credentials."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sse_bridge import Bridge, Event
from sse_bridge.streams import Grant, stream_source
from tests.streams.source_cases import (
    ANY,
    Failing,
    async_source,
    drivers,
    events,
    failing,
    open_bridge,
    read_async,
    read_sync,
    stream,
    sync_source,
)
from tests.support.sse_parser import parse

bridge = pytest.fixture(open_bridge)


@failing
@pytest.mark.parametrize("items", [0, 2])
def test_a_failed_source_is_told_and_logged_once(
    kind: str, read: Any, options: Any, items: int, bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    source = getattr(Failing(items, RuntimeError("secret")), kind)
    body = b"".join(read(stream_source(bridge, source, ANY, **options)))
    assert events(body)[items + 1 :] == [
        ("stream.error", '{"message":"the source of this stream failed"}'),
        ("stream.end", '{"channel":null,"reason":"error"}'),
    ]
    assert b"secret" not in body
    ours = [record for record in caplog.records if record.name == "sse_bridge.streams"]  # other threads may log as well
    (record,) = [record for record in ours if record.levelno >= logging.WARNING]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "secret"
    assert "raise self.error" in caplog.text


@failing
@pytest.mark.parametrize("format", ["ndjson", "json_array", "text"])
def test_a_failure_in_other_formats(kind: str, read: Any, options: Any, format: str, bridge: Bridge) -> None:
    source = getattr(Failing(2, RuntimeError("secret")), kind)
    response = stream_source(bridge, source, ANY, format=format, **options)
    if format == "text":  # it cannot be told, so the connection is cut after what there was
        with pytest.raises(ConnectionResetError, match="incomplete"):
            read(response)
        return
    body = b"".join(read(response)).decode()
    rows = json.loads(body) if format == "json_array" else [json.loads(line) for line in body.split("\n")[:-1]]
    assert rows == [0, 1, {"type": "stream.error", "data": {"message": "the source of this stream failed"}}]


def test_what_was_made_before_a_failure_leaves_before_the_cut(bridge: Bridge) -> None:
    body = stream_source(bridge, Failing(2, RuntimeError()).asynchronous, ANY, format="text").bodies.sync_body()  # type: ignore[union-attr]
    assert next(body) == b"0\n1\n"
    with pytest.raises(ConnectionResetError):
        next(body)
    with pytest.raises(ConnectionResetError):
        next(body)


def test_debug_tells_the_traceback() -> None:
    with Bridge(debug=True) as bridge:
        body = b"".join(read_sync(stream_source(bridge, Failing(0, KeyError("why")).sync, ANY)))
    error = json.loads(parse(body)[1].data)
    assert error["message"] == "KeyError: 'why'"
    assert "raise self.error" in error["detail"]["traceback"]


BAD_ITEMS = [
    len,  # no JSON; its name is the same in every process
    "\ud800",
    {"event": "open", "data": 1},
    {"event": "stream.end"},
    {"event": "a\nb"},
    {"event": "a", "id": "x\n"},
    {"event": "a", "id": 1.5},
    {"event": "a", "id": "stream.end"},
    Event("c", type="stream.mine"),
]


@drivers
@pytest.mark.parametrize("item", BAD_ITEMS, ids=repr)
def test_an_item_that_no_frame_may_carry_is_a_failure_of_its_source(item: Any, driver: str, bridge: Bridge) -> None:
    got = events(stream(driver, bridge, ["a", item, "never"]))
    assert [name for name, _ in got] == ["stream.open", "message", "stream.error", "stream.end"]


def refuse() -> Any:
    raise RuntimeError


@pytest.mark.parametrize("read", [read_sync, read_async])
@pytest.mark.parametrize("source", [refuse, lambda: 5, lambda: asyncio.sleep(0, 5), int, type])
def test_a_callable_that_makes_no_source_is_a_failed_source(source: Any, read: Any, bridge: Bridge) -> None:
    names = [name for name, _ in events(b"".join(read(stream_source(bridge, source, ANY))))]
    assert names == ["stream.open", "stream.error", "stream.end"]


@pytest.mark.parametrize("read", [read_sync, read_async])
def test_a_callable_makes_a_source_of_either_colour(read: Any, bridge: Bridge) -> None:
    async def coroutine(made: Any) -> Any:
        return made

    makers = [lambda: [1], sync_source([1]), async_source([1]), lambda: next(iter([async_source([1])()]))]
    makers += [lambda: coroutine([1]), lambda: coroutine(async_source([1])())]
    for make in makers:
        assert read(stream_source(bridge, make, ANY, format="text")) == [b"1\n"]

    async def function() -> list[int]:
        return [1]

    assert read(stream_source(bridge, function, ANY, format="text")) == [b"1\n"]


# the end that others set


@failing
def test_a_drain_ends_a_stream_on_a_frame_boundary(kind: str, read: Any, options: Any, bridge: Bridge) -> None:
    class Endless:
        def sync(self) -> Iterator[int]:
            yield 1
            bridge.streams.begin_drain(0)
            while True:
                yield 2

        async def asynchronous(self) -> AsyncIterator[int]:
            for item in self.sync():
                yield item

    got = events(b"".join(read(stream_source(bridge, getattr(Endless(), kind), ANY, **options))))
    assert got[:2] == [("stream.open", "{}"), ("message", "1")]
    assert got[-1] == ("stream.close", '{"reason":"drain"}')
    assert len(bridge.streams) == 0
    # while it drains, a new stream ends at once, and text cannot say so
    with pytest.raises(ConnectionResetError):
        read(stream_source(bridge, getattr(Endless(), kind), ANY, format="text", **options))


def test_a_drain_wakes_silent_sources(bridge: Bridge) -> None:
    async def silent() -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield "never"

    async def read() -> list[bytes]:
        body = stream_source(bridge, silent, ANY).bodies.async_body()  # type: ignore[union-attr]
        pieces = [await anext(body)]
        bridge.streams.begin_drain(0)
        return pieces + [piece async for piece in body]

    assert [name for name, _ in events(b"".join(asyncio.run(read())))] == ["stream.open", "stream.close"]


def test_credentials_that_expire_end_a_stream() -> None:
    async def silent() -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield "never"

    with Bridge() as bridge:
        response = stream_source(bridge, silent, ANY, grant=Grant(expires_at=time.time() + 0.5))
        assert events(b"".join(read_sync(response)))[-1] == ("stream.close", '{"reason":"expired"}')
