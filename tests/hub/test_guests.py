"""A stream without channels, asked step by step as a reader is: it waits for a wake or its time, and a cancel is not lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from sse_bridge import Bridge


class Stream:
    why = ""

    def end_by(self, when: float, why: str = "drain") -> None:
        self.why = why


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with Bridge("memory://") as bridge:
        yield bridge


async def test_it_is_ready_when_the_list_is_read(bridge: Bridge) -> None:
    stream = Stream()
    member = bridge.loop_hub().register_source("ada", stream)
    until = time.monotonic() + 60
    while not member.ready():
        assert member.refusal() is None
        await member.wait(until)
    assert time.monotonic() < until
    assert not member.closed
    member.close()
    await member.wait(until)  # a closed one waits for nothing
    assert time.monotonic() < until


def test_a_thread_is_woken_likewise() -> None:
    with Bridge("memory://") as bridge:
        stream = Stream()
        member = bridge.thread_hub().register_source("ada", stream)
        until = time.monotonic() + 60
        while not member.ready():
            assert member.refusal() is None
            member.wait(until)
        member.close()
        member.wait(until)
        assert time.monotonic() < until


async def test_it_waits_no_longer_than_it_may(bridge: Bridge) -> None:
    loop_stream, thread_stream = Stream(), Stream()
    member = bridge.loop_hub().register_source("ada", loop_stream)
    twin = bridge.thread_hub().register_source("bob", thread_stream)
    while not (member.ready() and twin.ready()):
        await asyncio.sleep(0)
    until = time.monotonic() + 0.05
    await member.wait(until)
    assert time.monotonic() >= until - 0.01  # a loop's timers are as exact as its clock
    twin.wake()  # what woke it for an earlier look
    twin.wait(until)
    await asyncio.to_thread(twin.wait, time.monotonic() + 0.05)


async def test_a_cancel_that_comes_together_with_a_wake_is_not_lost(bridge: Bridge) -> None:
    stream = Stream()
    member = bridge.loop_hub().register_source("ada", stream)
    task = asyncio.create_task(member.wait(time.monotonic() + 60))
    await asyncio.sleep(0)
    member.wake()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_when_the_bridge_closes_it_leaves_and_its_stream_ends(bridge: Bridge) -> None:
    loop_stream, thread_stream = Stream(), Stream()
    members = [
        bridge.loop_hub().register_source("ada", loop_stream),
        bridge.thread_hub().register_source("bob", thread_stream),
    ]
    await bridge.aclose()
    assert [member.closed for member in members] == [True, True]
    assert (loop_stream.why, thread_stream.why) == ("unavailable", "unavailable")
