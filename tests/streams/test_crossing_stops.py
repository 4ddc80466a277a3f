"""A source is stopped wherever it stands, and closed by whoever ran it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from sse_bridge import Bridge
from tests.streams.driver_cases import Steps, async_body, open_bridge, sync_body
from tests.support.wait import await_for

bridge = pytest.fixture(open_bridge)


@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.parametrize(("kind", "own_thread"), [("sync", False), ("sync", True), ("asynchronous", False)])
def test_closing_early_runs_the_finally_blocks_where_the_source_ran(kind: str, own_thread: bool, pieces: int) -> None:
    steps = Steps()
    with Bridge(max_write_bytes=1024) as bridge:
        body = sync_body(bridge, padded(getattr(steps, kind)), own_thread=own_thread)
        for _ in range(pieces):
            next(body)
        body.close()
        assert steps.closed.wait(10)
        assert len(set(steps.threads)) == 1
        assert len(set(steps.tasks)) <= 1
        if pieces < 3:
            assert steps.ended_by is not None
        assert list(body) == []


@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.parametrize("kind", ["sync", "asynchronous"])
async def test_closing_early_on_a_loop_runs_the_finally_blocks_where_the_source_ran(kind: str, pieces: int) -> None:
    steps = Steps()
    async with Bridge(max_write_bytes=1024) as bridge:
        body = async_body(bridge, padded(getattr(steps, kind)))
        for _ in range(pieces):
            await anext(body)
        await body.aclose()
        await await_for(steps.closed.is_set)
        assert len(set(steps.threads)) == 1
        assert len(set(steps.tasks)) <= 1
        assert [piece async for piece in body] == []


def padded(make: Callable[[], Any]) -> Callable[[], Any]:
    """The same source with items of one write each, so that it cannot run ahead; its end belongs to the inner one."""

    def sync() -> Iterator[str]:
        inner = make()
        try:
            for item in inner:
                yield str(item) * 2000
        finally:
            inner.close()

    async def asynchronous() -> AsyncIterator[str]:
        async with contextlib.aclosing(make()) as inner:
            async for item in inner:
                yield str(item) * 2000

    return asynchronous if "asynchronous" in make.__name__ else sync


class Stuck:
    """A source that yields once and then waits until the test lets it go on."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.waits = threading.Event()
        self.ended_by: type[BaseException] | None = None
        self.closed = threading.Event()

    def sync(self) -> Iterator[int]:
        try:
            yield 1
            self.waits.set()
            assert self.go.wait(20)
            yield 2
        except GeneratorExit:
            self.ended_by = GeneratorExit
            raise
        finally:
            self.closed.set()

    async def asynchronous(self) -> AsyncIterator[int]:
        try:
            yield 1
            self.waits.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended_by = asyncio.CancelledError
            raise
        finally:
            await asyncio.sleep(0)
            self.closed.set()


async def test_an_async_source_is_cancelled_where_it_waits(bridge: Bridge) -> None:
    stuck = Stuck()
    body = async_body(bridge, stuck.asynchronous)
    assert await anext(body) == b"1\n"
    reading = asyncio.ensure_future(anext(body))
    await await_for(stuck.waits.is_set)
    body.close()
    with pytest.raises(StopAsyncIteration):
        await reading
    await body.aclose()
    assert stuck.closed.is_set()
    assert stuck.ended_by is asyncio.CancelledError


async def test_cancelling_the_reader_stops_the_source(bridge: Bridge) -> None:
    stuck = Stuck()
    body = async_body(bridge, stuck.asynchronous)
    assert await anext(body) == b"1\n"
    reading = asyncio.ensure_future(anext(body))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await await_for(stuck.closed.is_set)
    assert len(bridge.streams) == 0


async def test_a_thread_that_blocks_holds_up_nobody_and_is_closed_when_it_comes_back(bridge: Bridge) -> None:
    stuck = Stuck()
    body = async_body(bridge, stuck.sync)
    assert await anext(body) == b"1\n"
    reading = asyncio.ensure_future(anext(body))
    await await_for(stuck.waits.is_set)
    body.close()
    with pytest.raises(StopAsyncIteration):
        await reading
    await body.aclose()
    assert not stuck.closed.is_set()
    stuck.go.set()
    await await_for(stuck.closed.is_set)
    assert stuck.ended_by is GeneratorExit


async def test_close_from_another_thread(bridge: Bridge) -> None:
    for kind in ("sync", "asynchronous"):
        stuck = Stuck()
        body = async_body(bridge, getattr(stuck, kind))
        assert await anext(body) == b"1\n"
        await await_for(stuck.waits.is_set)
        await asyncio.to_thread(body.close)  # as Django does
        stuck.go.set()
        await await_for(stuck.closed.is_set)


@pytest.mark.parametrize(("kind", "own_thread"), [("sync", False), ("sync", True), ("asynchronous", False)])
def test_close_from_another_thread_while_the_consumer_waits(kind: str, own_thread: bool, bridge: Bridge) -> None:
    stuck = Stuck()
    body = sync_body(bridge, getattr(stuck, kind), own_thread=own_thread)
    got: list[bytes] = []
    consumer = threading.Thread(target=lambda: got.extend(body))
    consumer.start()
    assert stuck.waits.wait(10)
    body.close()
    stuck.go.set()
    consumer.join(60)
    assert not consumer.is_alive()
    assert stuck.closed.wait(10)
    assert got in ([], [b"1\n"])


async def test_a_source_that_swallows_its_cancellation_is_closed_at_its_next_yield(bridge: Bridge) -> None:
    ends: list[str] = []

    async def stubborn() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    ends.append("cancelled")
        finally:
            ends.append("closed")

    body = async_body(bridge, stubborn)
    assert await anext(body) == b"1\n"
    await body.aclose()
    assert ends == ["cancelled", "closed"]


async def test_the_end_of_a_source_is_not_interrupted(bridge: Bridge) -> None:
    class Slow:
        closed = False

        def __aiter__(self) -> Slow:
            return self

        async def __anext__(self) -> int:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.02)
            self.closed = True

    source = Slow()
    body = async_body(bridge, source)
    assert [piece async for piece in body] == []
    await body.aclose()
    assert source.closed


def test_tasks_that_a_source_leaves_behind_end_with_its_private_loop(bridge: Bridge) -> None:
    ends: list[str] = []

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    async def source() -> AsyncIterator[int]:
        task = asyncio.ensure_future(background())
        await asyncio.sleep(0)
        yield 1
        assert not task.done()

    assert list(sync_body(bridge, source)) == [b"1\n"]
    assert ends == ["cancelled"]


def test_a_loop_that_goes_down_takes_its_streams_along(bridge: Bridge) -> None:
    steps = Steps()
    left: list[Any] = []

    async def leave() -> None:
        body = async_body(bridge, steps.asynchronous)
        await anext(body)
        left.append(body)

    asyncio.run(leave())
    assert steps.closed.is_set()
    left[0].close()
