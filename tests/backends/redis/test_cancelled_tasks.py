"""Somebody ends all tasks of the loop, ours too, and goes on: what depends on them does, or begins anew."""

from __future__ import annotations

import asyncio

import pytest

from sse_bridge import Bridge
from sse_bridge.backends.redis import aio_daemon
from sse_bridge.backends.redis.link import PubSubLink
from tests.hub.scenarios import disregard_threads, our_threads
from tests.support.wait import await_for, wait_for


def named(name: str) -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == name]


async def test_a_publisher_that_is_cancelled_before_its_first_step(redis_url: str, prefix: str) -> None:
    async with Bridge(redis_url, prefix=prefix) as bridge:
        await bridge.apublish("a", 1)
        waiting = asyncio.ensure_future(bridge.apublish("a", 2))
        while not (tasks := named("sse_bridge-publisher")):
            await asyncio.sleep(0)
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 60)
        assert await asyncio.wait_for(bridge.apublish("a", 3), 60) is not None


@pytest.mark.parametrize("steps", [0, 1, 5])
async def test_a_live_link_that_is_cancelled(
    steps: int, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio_daemon, "AGAIN_SECONDS", 0.01)
    async with Bridge(redis_url, prefix=prefix) as bridge, bridge.asubscribe("a") as stream:
        if steps:
            assert await stream.wait_ready(60)
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in named("sse_bridge-redis-upstream"):
            task.cancel()
        async with bridge.asubscribe("b") as other:
            assert await other.wait_ready(60)
            assert await stream.wait_ready(60)
            for channel, reader in (("a", stream), ("b", other)):
                await bridge.apublish(channel, 1)
                event = await reader.next(60)
                assert event is not None
                assert event.data == 1


async def test_a_task_that_fails_begins_anew(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(aio_daemon, "AGAIN_SECONDS", 0.01)
    runs: list[int] = []

    async def work() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise LookupError("a bug")

    daemon = aio_daemon.LoopDaemon(work, "sse_bridge-test")
    daemon.start()
    await await_for(lambda: len(runs) == 2, what="the second run")
    assert "'sse_bridge-test' failed" in caplog.text
    daemon.close()
    daemon.start()
    await asyncio.sleep(0)
    assert len(runs) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_link_whose_thread_was_ended_is_made_anew(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disregard_threads()
    received, ends = PubSubLink.received, [SystemExit("a filter's")]

    def ending(link: PubSubLink, data: bytes, now: float) -> None:
        if ends:
            raise ends.pop()
        received(link, data, now)

    monkeypatch.setattr(PubSubLink, "received", ending)
    with Bridge(redis_url, prefix=prefix) as bridge, bridge.subscribe("a") as first:
        wait_for(
            lambda: not ends and not any("upstream" in name for name in our_threads()), what="the end of the thread"
        )
        with bridge.subscribe("b") as second:
            assert second.wait_ready(60)
            assert first.wait_ready(60)
            bridge.publish("a", 1)
            event = first.next(60)
            assert event is not None
