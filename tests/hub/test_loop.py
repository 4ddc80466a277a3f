"""The hub on asyncio: what goes wrong in one place stays there, and what is forgotten is given back."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.errors import BackendUnavailable
from sse_bridge.hub import loop, switchboard
from tests.support.wait import await_for


@pytest.fixture
async def bridge(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bridge]:
    monkeypatch.setattr(loop, "TICK_SECONDS", 0.02)
    async with Bridge("memory://") as bridge:
        yield bridge


async def test_a_subscription_that_was_forgotten_is_given_back(bridge: Bridge) -> None:
    stream = bridge.asubscribe("a")
    assert await stream.wait_ready(10)
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
            assert stream.wait_ready(5)

    if colour == "sync":
        await asyncio.to_thread(subscribe_sync)
        return
    with pytest.raises(BackendUnavailable):
        bridge.asubscribe("a")
    assert bridge.loop_hub().readers() == 0
    async with bridge.asubscribe("a") as stream:
        assert await stream.wait_ready(5)


async def test_a_reader_whose_wake_fails_keeps_nobody_from_theirs(
    bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    streams = [bridge.asubscribe("a") for _ in range(9)]
    for stream in streams:
        assert await stream.wait_ready(10)
    bad, *good = streams
    bad._reader.on_wake = broken
    waiting = [asyncio.create_task(stream.next(5)) for stream in good]
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


def test_what_a_log_handler_publishes_about_a_slow_reader_finds_the_hub_free() -> None:
    """A handler of logging may do anything, even publish; under the hub's lock it would wait for itself."""
    with Bridge("memory://") as bridge, bridge.subscribe("a", policy="latest_only") as stream:
        assert stream.wait_ready(10)

        class Publishes(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                told.append(bridge.thread_hub().lock.locked())

        told: list[bool] = []
        handler = Publishes()
        switchboard.logger.addHandler(handler)
        try:
            for n in range(5):
                bridge.publish("a", n)
            assert stream.next(10) is not None
        finally:
            switchboard.logger.removeHandler(handler)
        assert told == [False]
