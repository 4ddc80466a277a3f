"""The end of a pushed stream whose client takes nothing any more, and what is left of any stream then."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from sse_bridge import Bridge
from tests.streams.test_pushing import Client
from tests.support.wait import await_for


async def test_a_stream_that_ended_waits_for_no_garbage_collector() -> None:
    bridge = Bridge("memory://")
    client = await Client(bridge, "a").opened()
    (stream,) = [weakref.ref(each) for each in bridge.streams._streams]
    gc.disable()
    try:
        await client.leave()
        del client
        await await_for(lambda: stream() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("why", ["lifetime", "drain"])
async def test_a_client_that_takes_nothing_is_given_up_when_its_stream_ends(why: str) -> None:
    settings = {"max_stream_seconds": 2.0} if why == "lifetime" else {}
    async with Bridge("memory://", **settings) as bridge:
        client = await Client(bridge, "a").opened()
        client.room.clear()
        await bridge.apublish("a", 1)
        await await_for(lambda: client.blocked)
        if why == "drain":
            bridge.streams.begin_drain(0.0)
        await asyncio.wait_for(client.task, 10)
        assert client.cancelled, "the send that was waited in is cancelled"
        assert len(bridge.streams) == bridge.loop_hub().readers() == 0


async def test_a_slow_client_gets_its_last_frame_within_a_moment() -> None:
    bridge = Bridge("memory://")
    client = await Client(bridge, "a").opened()
    client.room.clear()
    await bridge.apublish("a", 1)
    await await_for(lambda: client.blocked)
    bridge.streams.begin_drain(0.0)
    asyncio.get_running_loop().call_later(0.2, client.room.set)
    await asyncio.wait_for(client.task, 10)
    assert client.events == ["stream.open", "message", "stream.close"]
