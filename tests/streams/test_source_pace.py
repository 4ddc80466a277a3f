"""When the items of a source leave, and what is given back when a client does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.streams import stream_source
from tests.streams.source_cases import (
    ANY,
    DRIVERS,
    SILENT,
    Paced,
    drivers,
    open_bridge,
    read_sync,
)
from tests.support.sse_parser import Frame, SSEParser
from tests.support.wait import await_for, wait_for

bridge = pytest.fixture(open_bridge)


@pytest.mark.parametrize(("kind", "own_thread"), [("sync", False), ("sync", True), ("asynchronous", False)])
def test_an_item_leaves_before_the_next_one_is_made(kind: str, own_thread: bool, bridge: Bridge) -> None:
    paced = Paced()
    response = stream_source(bridge, getattr(paced, kind), ANY, format="text", own_thread=own_thread)
    body = response.bodies.sync_body()  # type: ignore[union-attr]
    for n in range(1, 4):
        paced.gate.release()
        assert next(body) == b"%d\n" % n
    body.close()
    paced.gate.release()
    assert paced.ended.wait(10)


@pytest.mark.parametrize("kind", ["sync", "asynchronous"])
async def test_an_item_leaves_before_the_next_one_is_made_on_a_loop(kind: str, bridge: Bridge) -> None:
    paced = Paced()
    body = stream_source(bridge, getattr(paced, kind), ANY, format="text").bodies.async_body()  # type: ignore[union-attr]
    for n in range(1, 4):
        paced.gate.release()
        assert await anext(body) == b"%d\n" % n
    await body.aclose()
    paced.gate.release()
    await await_for(paced.ended.is_set)


async def test_an_item_leaves_although_its_source_never_waits(bridge: Bridge) -> None:
    made = 0

    async def computing() -> AsyncIterator[int]:
        nonlocal made
        while made < 50:
            made += 1
            until = time.monotonic() + 0.002
            while time.monotonic() < until:
                pass
            yield made

    body = stream_source(bridge, computing, ANY, format="text").bodies.async_body()  # type: ignore[union-attr]
    assert await anext(body) == b"1\n"
    assert made < 5
    await body.aclose()


class Counted(list[str]):
    """Items that know how many were drawn from them."""

    made = 0

    def __iter__(self) -> Iterator[str]:
        for item in super().__iter__():
            self.made += 1
            yield item


# Their sources run on a thread, and so while the body's reader stands still.
THREADED = {"sync source, its own thread", "sync source, async body", "list, async body"}


@drivers
def test_what_is_ready_leaves_together_in_bounded_writes(driver: str) -> None:
    make, read, options = DRIVERS[driver]
    items, pieces = Counted(["x" * 100] * 100), []

    def take(piece: bytes) -> None:
        pieces.append(piece)
        if driver in THREADED:  # a reader that takes its time, however the machine shares its own
            ready = sum(map(len, pieces)) // 100 + 9
            wait_for(lambda: items.made >= min(ready, len(items)), what="items to be ready")

    async def take_all(body: Any) -> None:
        async with contextlib.aclosing(body):
            async for piece in body:
                take(piece)

    with Bridge(max_write_bytes=1024) as bridge:
        response = stream_source(bridge, items if make is list else make(items), ANY, **options, format="text")
        assert response.bodies is not None
        if read is read_sync:
            with contextlib.closing(response.bodies.sync_body()) as body:
                for piece in body:
                    take(piece)
        else:
            asyncio.run(take_all(response.bodies.async_body()))
    assert sum(map(len, pieces)) == 10_000
    assert max(map(len, pieces)) <= 1024
    if driver != "sync source, sync body":  # there nobody can know whether the next item is ready
        assert len(pieces) < 60


def test_an_item_longer_than_a_write_leaves_whole(bridge: Bridge) -> None:
    assert read_sync(stream_source(bridge, ["x" * 200_000, "y"], ANY, format="text")) == [b"x" * 200_000, b"y"]


async def test_a_source_runs_ahead_of_a_slow_client_by_one_write_only() -> None:
    made = 0

    async def endless() -> AsyncIterator[str]:
        nonlocal made
        while True:
            made += 1
            yield "x" * 100

    async with Bridge(max_write_bytes=1024) as bridge:
        body = stream_source(bridge, endless, ANY, format="text").bodies.async_body()  # type: ignore[union-attr]
        for taken in range(1, 20):
            await anext(body)
            assert made <= 11 * (taken + 1)
        await body.aclose()


@pytest.mark.parametrize(("kind", "own_thread"), SILENT)
def test_heartbeats_of_a_silent_source(kind: str, own_thread: bool) -> None:
    paced = Paced()
    with Bridge(heartbeat_seconds=0.05) as bridge:
        response = stream_source(bridge, getattr(paced, kind), ANY, own_thread=own_thread)
        with contextlib.closing(response.bodies.sync_body()) as body:  # type: ignore[union-attr]
            assert [next(body) for _ in range(4)][1:] == [b":\n"] * 3
            paced.gate.release()
            parser = SSEParser()
            frames: list[Frame] = []
            while not frames:
                frames += parser.feed(next(body))
            assert frames[0].data == "1"
        paced.gate.release()
        assert paced.ended.wait(10)


@pytest.mark.parametrize("kind", ["sync", "asynchronous"])
async def test_heartbeats_of_a_silent_source_on_a_loop(kind: str) -> None:
    paced = Paced()
    async with Bridge(heartbeat_seconds=0.05) as bridge:
        body = stream_source(bridge, getattr(paced, kind), ANY).bodies.async_body()  # type: ignore[union-attr]
        assert [await anext(body) for _ in range(4)][1:] == [b":\n"] * 3
        await body.aclose()
        paced.gate.release()
        await await_for(paced.ended.is_set)


# giving back


class Handed:
    """An iterator that holds something from the start, as a cursor or an upstream response does."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class SyncHanded(Handed):
    def __iter__(self) -> SyncHanded:
        return self

    def __next__(self) -> int:
        return 1


class AsyncHanded(Handed):
    def __aiter__(self) -> AsyncHanded:
        return self

    async def __anext__(self) -> int:
        return 1

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.close()


@pytest.mark.parametrize("pieces", [0, 1, 2, 3])
@pytest.mark.parametrize("source_type", [SyncHanded, AsyncHanded])
def test_what_was_handed_over_is_closed_once_however_early(source_type: Any, pieces: int, bridge: Bridge) -> None:
    source = source_type()
    body = stream_source(bridge, source, ANY).bodies.sync_body()  # type: ignore[union-attr]
    for _ in range(pieces):
        next(body)
    body.close()
    body.close()
    assert source.closed == 1
    assert list(body) == []


@pytest.mark.parametrize("pieces", [0, 1, 2, 3])
@pytest.mark.parametrize("source_type", [SyncHanded, AsyncHanded])
async def test_what_was_handed_over_is_closed_once_on_a_loop(source_type: Any, pieces: int, bridge: Bridge) -> None:
    source = source_type()
    body = stream_source(bridge, source, ANY).bodies.async_body()  # type: ignore[union-attr]
    for _ in range(pieces):
        await anext(body)
    body.close()
    await body.aclose()
    await await_for(lambda: source.closed)
    assert source.closed == 1
    assert [piece async for piece in body] == []


def test_what_can_be_iterated_again_is_not_ours_to_close(bridge: Bridge) -> None:
    class Pool(Handed):
        def __iter__(self) -> Iterator[int]:
            return iter([1])

    pool = Pool()
    read_sync(stream_source(bridge, pool, ANY))
    assert pool.closed == 0


def test_a_source_is_not_touched_before_the_first_piece(bridge: Bridge) -> None:
    def touched() -> Iterator[int]:
        raise AssertionError

    for make in ("sync_body", "async_body"):
        body = getattr(stream_source(bridge, touched, ANY).bodies, make)()
        assert len(bridge.streams) == 0
        body.close()


def test_a_body_that_its_server_forgot_closes_its_source(bridge: Bridge) -> None:
    for kind in (SyncHanded, AsyncHanded):
        source = kind()
        body = stream_source(bridge, source, ANY).bodies.sync_body()  # type: ignore[union-attr]
        next(body), next(body)
        del body
        gc.collect()
        wait_for(lambda source=source: source.closed)


async def test_a_body_that_its_server_forgot_closes_its_source_on_a_loop(bridge: Bridge) -> None:
    for kind in (SyncHanded, AsyncHanded):
        source = kind()
        body = stream_source(bridge, source, ANY).bodies.async_body()  # type: ignore[union-attr]
        await anext(body), await anext(body)
        del body
        gc.collect()
        await await_for(lambda source=source: source.closed)


def test_an_error_while_closing_is_logged_and_goes_nowhere(bridge: Bridge, caplog: pytest.LogCaptureFixture) -> None:
    def source() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise RuntimeError("in the end")

    body = stream_source(bridge, source, ANY).bodies.sync_body()  # type: ignore[union-attr]
    next(body), next(body)
    body.close()
    assert "in the end" in caplog.text
