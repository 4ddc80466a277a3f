"""Colours that cross: who runs a source, whatever the colour of its body, and the same under gevent."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from sse_bridge import Bridge
from sse_bridge.errors import AsyncContextError
from sse_bridge.runtime.wakers import LoopWaker
from tests.streams.driver_cases import Steps, async_body, open_bridge, source_threads, sync_body, user
from tests.support.gevent_run import gevent_run
from tests.support.wait import astays, await_for, wait_for

bridge = pytest.fixture(open_bridge)


def test_a_sync_source_runs_on_the_thread_that_consumes_it(bridge: Bridge) -> None:
    steps = Steps()
    user.set("ann")
    assert list(sync_body(bridge, steps.sync)) == [b"0\n", b"1\n", b"2\n"]
    assert set(steps.threads) == {threading.current_thread()}
    assert set(steps.users) == {"ann"}


@pytest.mark.parametrize("consume", ["sync", "async"])
def test_a_thread_of_its_own_runs_every_step_in_the_callers_context(consume: str, bridge: Bridge) -> None:
    steps = Steps()
    user.set("bob")
    if consume == "sync":
        pieces = list(sync_body(bridge, steps.sync, own_thread=True))
    else:

        async def read() -> list[bytes]:
            return [piece async for piece in async_body(bridge, steps.sync)]

        pieces = asyncio.run(read())
    assert b"".join(pieces) == b"0\n1\n2\n"
    assert len(set(steps.threads)) == 1
    assert threading.current_thread() not in steps.threads
    assert set(steps.users) == {"bob"}
    wait_for(lambda: not source_threads())


@pytest.mark.parametrize("consume", ["sync", "async"])
def test_one_task_runs_every_step_of_an_async_source(consume: str, bridge: Bridge) -> None:
    steps = Steps()
    user.set("cat")
    if consume == "sync":
        pieces = list(sync_body(bridge, steps.asynchronous))
    else:

        async def read() -> list[bytes]:
            return [piece async for piece in async_body(bridge, steps.asynchronous)]

        pieces = asyncio.run(read())
    assert b"".join(pieces) == b"0\n1\n2\n"
    assert len(set(steps.tasks)) == 1
    assert set(steps.threads) == {threading.current_thread()}
    assert set(steps.users) == {"cat"}


async def test_a_timeout_around_a_yield_works_since_one_task_runs_all(bridge: Bridge) -> None:
    async def source() -> AsyncIterator[int]:
        task = asyncio.current_task()
        yield 1
        assert asyncio.current_task() is task
        await asyncio.wait_for(asyncio.sleep(0), 30)
        yield 2

    assert b"".join([piece async for piece in async_body(bridge, source)]) == b"1\n2\n"


@pytest.mark.parametrize("colour", ["sync", "asynchronous"])
async def test_a_source_whose_task_is_cancelled_before_its_first_step_has_failed(colour: str, bridge: Bridge) -> None:
    """By whoever ends all tasks of the loop: its body does not wait for items that nobody makes."""
    steps = Steps()
    body = async_body(bridge, getattr(steps, colour))
    before = asyncio.all_tasks()

    async def read() -> bytes:
        return b"".join([piece async for piece in body])

    reading = asyncio.ensure_future(read())
    while not (others := asyncio.all_tasks() - before - {reading}):
        await asyncio.sleep(0)
    for task in others:
        task.cancel()
    assert b"error" in await asyncio.wait_for(reading, 60)
    assert not steps.threads


async def test_a_sync_source_may_call_back_into_the_loop(bridge: Bridge) -> None:
    loop = asyncio.get_running_loop()

    async def on_the_loop() -> bool:
        return asyncio.get_running_loop() is loop

    def source() -> Iterator[bool]:
        yield async_to_sync(on_the_loop)()

    assert [piece async for piece in async_body(bridge, source)] == [b"true\n"]


def test_an_async_source_may_use_threads(bridge: Bridge) -> None:
    async def source() -> AsyncIterator[int]:
        yield await sync_to_async(lambda: 1)()
        yield await asyncio.to_thread(lambda: 2)

    assert b"".join(sync_body(bridge, source)) == b"1\n2\n"


def test_a_sync_body_on_a_loops_thread_says_what_to_do(bridge: Bridge) -> None:
    async def read() -> None:
        with pytest.raises(AsyncContextError, match=r"async_body\(\)"):
            list(sync_body(bridge, Steps().asynchronous))

    asyncio.run(read())


# what is iterable in both colours, as a QuerySet


class Both:
    def __iter__(self) -> Iterator[str]:
        return iter(["sync"])

    async def __aiter__(self) -> AsyncIterator[str]:
        yield "async"


async def test_what_has_both_colours_takes_the_bodys_own(bridge: Bridge) -> None:
    assert [piece async for piece in async_body(bridge, Both())] == [b'"async"\n']
    assert await asyncio.to_thread(lambda: list(sync_body(bridge, Both()))) == [b'"sync"\n']
    assert await asyncio.to_thread(lambda: list(sync_body(bridge, lambda: Both()))) == [b'"sync"\n']  # noqa: PLW0108
    assert [piece async for piece in async_body(bridge, lambda: Both())] == [b'"sync"\n']  # noqa: PLW0108


async def test_more_streams_than_the_default_pool_has_threads(bridge: Bridge) -> None:
    gate = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        assert gate.wait(60)
        yield 2

    bodies = [async_body(bridge, source) for _ in range(50)]
    assert [await anext(body) for body in bodies] == [b"1\n"] * 50
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 30) == "free"
    gate.set()
    assert [await anext(body) for body in bodies] == [b"2\n"] * 50
    for body in bodies:
        await body.aclose()
    await await_for(lambda: not source_threads())


async def test_a_waker_remembers_and_sets_one_timer() -> None:
    waker = LoopWaker(asyncio.get_running_loop())
    waker.wake()
    await asyncio.wait_for(waker.wait(time.monotonic() + 60), 30)
    timer = waker._timer
    assert timer is None  # it did not have to wait
    waiting = asyncio.ensure_future(waker.wait(time.monotonic() + 60))
    await astays(lambda: not waiting.done(), 0.05)
    timer = waker._timer
    await asyncio.to_thread(waker.wake_threadsafe)
    await asyncio.wait_for(waiting, 60)
    waiting = asyncio.ensure_future(waker.wait(time.monotonic() + 61))
    await asyncio.sleep(0)
    assert waker._timer is timer
    waker.wake()
    await waiting
    await asyncio.wait_for(waker.wait(time.monotonic() + 0.01), 30)  # an earlier time replaces it
    waker.disarm()


# gevent: the greenlets of one thread share it, and one thread runs one loop

GREENLETS = """
    import asyncio, json, threading, time
    import gevent
    from sse_bridge import Bridge
    from sse_bridge.streams import StreamRequest, stream_source

    bridge = Bridge(heartbeat_seconds=0.1)
    started, ended = [], []
    ITEMS = 20

    async def asynchronous(n):
        started.append(n)
        try:
            for item in range(ITEMS):
                await asyncio.sleep(0.02)
                yield [n, item]
        finally:
            await asyncio.sleep(0)
            ended.append(n)

    def sync(n):
        started.append(n)
        try:
            for item in range(ITEMS):
                time.sleep(0.02)
                yield [n, item]
        finally:
            ended.append(n)

    def body(source, **options):
        return stream_source(bridge, source, StreamRequest(), format="ndjson", **options).bodies.sync_body()

    def read(source, options):
        return b"".join(body(source, **options)).split()

    ticks = 0

    def tick():
        global ticks
        while True:
            gevent.sleep(0.005)
            ticks += 1

    ticker = gevent.spawn(tick)
    report = {}
    for name, source, options in [
        ("async", asynchronous, {}), ("sync", sync, {}), ("own thread", sync, {"own_thread": True}),
    ]:
        del started[:], ended[:]
        ticks = 0
        jobs = [gevent.spawn(read, lambda n=n: source(n), options) for n in range(25)]
        gevent.joinall(jobs, timeout=60, raise_error=True)
        assert all(job.value == [b"[%d,%d]" % (n, item) for item in range(ITEMS)] for n, job in enumerate(jobs)), name
        assert sorted(ended) == list(range(25)), (name, ended)
        report[name] = ticks

    # silent sources: heartbeats, and a greenlet that its server kills
    async def silent_async():
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append("killed")

    def silent():
        try:
            gevent.event.Event().wait()
            yield 1
        finally:
            ended.append("killed")

    import gevent.event
    for source, options in [(silent_async, {}), (silent, {}), (silent, {"own_thread": True})]:
        del ended[:]
        beats = []

        def consume():
            one = body(source, **options)
            try:
                for piece in one:
                    beats.append(piece)
            finally:
                one.close()

        job = gevent.spawn(consume)
        if source is silent_async or options:
            with gevent.Timeout(60):
                while len(beats) < 2:
                    gevent.sleep(0.01)
        else:
            gevent.sleep(0.05)
        job.kill(timeout=60)
        assert job.dead
        if not options:
            assert ended == ["killed"], (source, options, ended)
        assert set(beats) <= {bytes([10])}, beats
    assert len(bridge.streams) == 0
    print(json.dumps(report))
"""


def test_greenlets_of_one_thread_each_run_their_source() -> None:
    report = json.loads(gevent_run(GREENLETS))
    # while sources waited, other greenlets ran: once per item at least, also on a machine that is late at each wait
    assert min(report.values()) > 5, report
