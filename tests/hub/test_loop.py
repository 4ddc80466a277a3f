"""The hub on asyncio: what goes wrong in one place stays there, and what is forgotten is given back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from sse_bridge import Bridge, Event
from sse_bridge.errors import BackendUnavailable
from sse_bridge.hub import holds, loop, threads
from tests.hub.scenarios import disregard_threads, our_threads
from tests.support.wait import await_for


@pytest.fixture
async def bridge(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bridge]:
    monkeypatch.setattr(loop, "TICK_SECONDS", 0.02)
    async with Bridge("memory://", linger_seconds=0.0) as bridge:
        yield bridge


async def test_a_subscription_that_was_forgotten_is_given_back(bridge: Bridge) -> None:
    stream = bridge.asubscribe("a")
    assert await stream.wait_ready(60)
    assert bridge.loop_hub().readers() == 1
    del stream
    gc.collect()
    await await_for(lambda: bridge.loop_hub().readers() == 0)


@pytest.mark.parametrize("colour", ["async", "sync"])
async def test_a_channel_whose_first_subscription_failed_is_subscribed_by_the_next_reader(
    colour: str, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "aupstream" if colour == "async" else "upstream"
    upstream, failures = getattr(bridge.backend, name), [BackendUnavailable("not yet")]

    def failing(sink: Any) -> Any:
        if failures:
            raise failures.pop()
        return upstream(sink)

    monkeypatch.setattr(bridge.backend, name, failing)

    def subscribe_sync() -> None:
        with pytest.raises(BackendUnavailable):
            bridge.subscribe("a")
        with bridge.subscribe("a") as stream:
            assert stream.wait_ready(60)

    if colour == "sync":
        await asyncio.to_thread(subscribe_sync)
        return
    with pytest.raises(BackendUnavailable):
        bridge.asubscribe("a")
    assert bridge.loop_hub().readers() == 0
    async with bridge.asubscribe("a") as stream:
        assert await stream.wait_ready(60)


@pytest.mark.parametrize("colour", ["async", "sync"])
async def test_a_link_that_failed_to_close_is_not_the_next_readers(
    colour: str, bridge: Bridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disregard_threads()
    monkeypatch.setattr(threads, "TICK_SECONDS", 0.02)
    name = "aupstream" if colour == "async" else "upstream"
    upstream = getattr(bridge.backend, name)

    def close() -> None:
        raise OSError("not closed")

    def first(sink: Any) -> Any:
        monkeypatch.setattr(bridge.backend, name, upstream)
        link = upstream(sink)
        monkeypatch.setattr(link, "close", close)
        return link

    monkeypatch.setattr(bridge.backend, name, first)

    def read_sync() -> Event | None:
        with bridge.subscribe("a") as stream:
            assert stream.wait_ready(60)
            bridge.publish("a", 1)
            return stream.next(60)

    async def read() -> Event | None:
        if colour == "sync":
            return await asyncio.to_thread(read_sync)
        async with bridge.asubscribe("a") as stream:
            assert await stream.wait_ready(60)
            await bridge.apublish("a", 1)
            return await stream.next(60)

    assert await read()
    await await_for(lambda: "not closed" in caplog.text)
    if colour == "sync":
        await await_for(lambda: "sse_bridge-housekeeping" not in our_threads())
        assert "unexpected error" not in caplog.text
    assert await read()


async def test_a_closed_reader_joins_no_cohort(bridge: Bridge) -> None:
    hub = bridge.loop_hub()
    async with bridge.asubscribe("a") as stream:
        assert await stream.wait_ready(60)
        reader = stream._reader
    assert not hub.join_shared(reader, Mock(), Mock())
    assert not hub.shared_readers.members()


async def test_a_reader_whose_wake_fails_keeps_nobody_from_theirs(
    bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    streams = [bridge.asubscribe("a") for _ in range(9)]
    for stream in streams:
        assert await stream.wait_ready(60)
    bad, *good = streams
    bad._reader.on_wake = broken
    waiting = [asyncio.create_task(stream.next(60)) for stream in good]
    await await_for(lambda: all(stream._reader._waiter is not None for stream in good))
    await bridge.apublish("a", 1)
    assert all(await asyncio.gather(*waiting))
    hub = bridge.loop_hub()
    for stream in streams:
        hub.alarms.arm(stream._reader, 0.0)
    await await_for(lambda: len(hub.alarms) == 0)
    hub.alarms.arm(good[0]._reader, 0.0)
    await await_for(lambda: len(hub.alarms) == 0)  # it goes on ticking
    assert "ZeroDivisionError" in caplog.text
    bad._reader.on_wake = None


@contextlib.contextmanager
def hub_locked_when_logging(bridge: Bridge) -> Iterator[list[bool]]:
    """Of each record of the hubs, whether the lock of the hub on threads was held."""

    class Looks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(bridge.thread_hub().lock._is_owned())

    seen: list[bool] = []
    handler = Looks()
    holds.logger.addHandler(handler)
    try:
        yield seen
    finally:
        holds.logger.removeHandler(handler)


def test_what_a_log_handler_publishes_about_a_slow_reader_finds_the_hub_free() -> None:
    """A handler of logging may do anything, even publish; under the hub's lock it would wait for itself."""
    with Bridge("memory://") as bridge, bridge.subscribe("a", policy="latest_only") as stream:
        assert stream.wait_ready(60)
        with hub_locked_when_logging(bridge) as seen:
            for n in range(5):
                bridge.publish("a", n)
            assert stream.next(60) is not None
        assert seen == [False]


def test_what_a_log_handler_publishes_about_a_foreign_control_message_finds_the_hub_free() -> None:
    with Bridge("memory://") as bridge, hub_locked_when_logging(bridge) as seen:
        bridge.thread_hub().control_message(b"not ours")
        assert seen == [False]


async def test_a_read_that_is_cancelled_before_its_first_step_is_done_again(bridge: Bridge) -> None:
    """By whoever ends all tasks of the loop, and goes on."""
    before = asyncio.all_tasks()
    stream = bridge.asubscribe("a")
    while not (reading := asyncio.all_tasks() - before):
        await asyncio.sleep(0)
    for task in reading:
        task.cancel()
    assert await stream.wait_ready(60)
    await stream.aclose()


async def test_a_tick_that_fails_is_followed_by_others(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As that of a hub on threads: a backend that fails to unsubscribe silences no heartbeats."""
    hub = bridge.loop_hub()
    async with bridge.asubscribe("a") as stream:
        assert await stream.wait_ready(60)
        with monkeypatch.context() as patched:
            patched.setattr(hub._upstream, "unsubscribe", Mock(side_effect=LookupError("a bug")))
            await bridge.asubscribe("b").aclose()
            await await_for(lambda: "the tick of a hub met an unexpected error" in caplog.text)
        woken: list[float] = []
        monkeypatch.setattr(stream._reader, "on_wake", lambda: woken.append(1))
        hub.alarms.arm(stream._reader, 0.0)
        await await_for(lambda: woken, what="the alarm")
