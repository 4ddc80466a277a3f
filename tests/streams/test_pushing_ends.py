"""The end of a pushed stream whose client takes nothing any more, and what is left of any stream then."""

from __future__ import annotations

import asyncio
import gc
import weakref
import zlib
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.streams import StreamRequest, send_stream, stream_channels
from tests.streams.test_pushing import Client
from tests.support.sse_parser import parse
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
        await asyncio.wait_for(client.task, 60)
        assert client.cancelled, "the send that was waited in is cancelled"
        assert len(bridge.streams) == bridge.loop_hub().readers() == 0


@pytest.mark.parametrize("opened", [False, True])
async def test_a_client_that_takes_nothing_is_given_up_when_its_bridge_is_closed(opened: bool) -> None:
    bridge = Bridge("memory://")
    client = Client(bridge, "a")
    if opened:
        await client.opened()
    client.room.clear()
    if opened:
        await bridge.apublish("a", 1)
    await await_for(lambda: client.blocked)
    await bridge.aclose()
    await asyncio.wait_for(client.task, 60)
    assert client.cancelled, "the send that was waited in is cancelled"
    assert len(bridge.streams) == 0


async def test_a_client_that_is_turned_away_and_takes_nothing_is_waited_for_a_moment() -> None:
    async with Bridge("memory://", max_streams=1) as bridge:
        first = await Client(bridge, "a").opened()
        for takes in (False, True):
            client = Client(bridge, "a")
            client.room.clear()
            client.requests = 3  # what it sends meanwhile changes nothing
            await await_for(lambda client=client: client.blocked)  # type: ignore[misc]
            if takes:
                client.room.set()
            await asyncio.wait_for(client.task, 60)
            assert client.cancelled is (None if takes else True)
        assert client.events == ["stream.close"]
        await first.leave()


@pytest.mark.parametrize("why", ["drain", "unavailable"])
async def test_a_slow_client_gets_its_last_frame_within_a_moment(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lifecycle.ending", "asgi.pushed"):  # longer than a loaded machine is late
        monkeypatch.setattr(f"sse_bridge.streams.{module}.LAST_WRITE_SECONDS", 20.0)
    bridge = Bridge("memory://")
    client = await Client(bridge, "a").opened()
    client.room.clear()
    await bridge.apublish("a", 1)
    (stream,) = bridge.streams._streams
    await await_for(lambda: stream._stepper._waiter is not None, what="the request's task to wait in the hub's write")
    if why == "drain":
        bridge.streams.begin_drain(0.0)
    else:
        await bridge.aclose()
    asyncio.get_running_loop().call_later(0.2, client.room.set)
    await asyncio.wait_for(client.task, 60)
    assert client.events == ["stream.open", "message", "stream.close"]
    assert client.frames[-1].data == f'{{"reason":"{why}"}}'


@pytest.mark.parametrize("drained", [False, True], ids=["a new life", "a drain"])
async def test_what_happens_while_the_open_frame_waits_is_told_once_it_has_left(
    drained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that has ended gets another life, or the stream is to end: neither waits for an event or a tick."""
    monkeypatch.setattr("sse_bridge.streams.asgi.pushed.LAST_WRITE_SECONDS", 60.0)
    async with Bridge("memory://") as bridge:
        await bridge.aclose_channel("a")
        await bridge.apublish("b", 1)
        id = str(await bridge.aposition(["a", "b"]))
        client = Client(bridge, ["a", "b"], StreamRequest(last_event_id=id))
        client.room.clear()
        await await_for(lambda: client.blocked == 1)
        if drained:
            bridge.streams.begin_drain(0.0)
        else:
            del bridge.backend._logs["a"]  # type: ignore[attr-defined]
            await bridge.apublish("a", "anew")
        hub = bridge.loop_hub()
        assert hub._timer is not None
        hub._timer.cancel()  # no tick
        [stream] = bridge.streams._streams
        await await_for(lambda: stream._listening._woken and hub.state.feeds["a"].live)  # type: ignore[attr-defined]
        client.room.set()
        told = ["stream.close"] if drained else ["stream.gap", "message"]
        await await_for(lambda: client.events == ["stream.open", *told])
        await client.leave()


@pytest.mark.parametrize("place", ["shared", "alone"])
async def test_a_server_that_cancels_the_request_lets_the_last_frame_out(place: str) -> None:
    settings = {"policy": "drop_oldest"} if place == "alone" else {}
    async with Bridge("memory://", retry_min_ms=1234, retry_max_ms=1234, **settings) as bridge:
        client = await Client(bridge, "a").opened()
        await bridge.apublish("a", 1)
        await await_for(lambda: client.data)
        client.task.cancel()
        await asyncio.wait({client.task}, timeout=60)
        assert client.task.cancelled()
        assert client.events == ["stream.open", "message", "stream.close"]
        assert client.frames[-1].retry == 1234
        assert [message.get("more_body") for message in client.messages] == [None, True, True, True, False]
        assert len(bridge.streams) == bridge.loop_hub().readers() == 0


async def test_the_last_frame_of_a_cancelled_request_ends_its_coding() -> None:
    async with Bridge("memory://", compression="gzip") as bridge:
        response = stream_channels(bridge, "a", StreamRequest(accept_encoding="gzip"))
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        def body() -> bytes:
            return b"".join(message.get("body", b"") for message in sent)

        task = asyncio.create_task(send_stream(response, asyncio.Event().wait, send))  # type: ignore[arg-type]
        await await_for(body)
        task.cancel()
        await asyncio.wait({task}, timeout=60)
        assert task.cancelled()
        decoder = zlib.decompressobj(31)
        frames = parse(decoder.decompress(body()))
        assert [frame.event for frame in frames] == ["stream.open", "stream.close"]
        assert decoder.eof
        assert not decoder.unused_data


async def test_a_cancelled_request_whose_client_takes_nothing_waits_for_nothing() -> None:
    async with Bridge("memory://") as bridge:
        client = await Client(bridge, "a").opened()
        client.room.clear()
        client.task.cancel()
        await asyncio.wait({client.task}, timeout=60)
        assert client.task.cancelled()
        assert client.blocked == 1
        assert client.cancelled, "the send of the last frame does not stay behind"
        assert client.messages[-1]["more_body"]


async def test_nothing_follows_a_write_that_a_cancel_interrupted() -> None:
    async with Bridge("memory://") as bridge:
        client = await Client(bridge, "a").opened()
        client.room.clear()
        await bridge.apublish("a", 1)
        await await_for(lambda: client.blocked)
        client.task.cancel()
        await asyncio.wait({client.task}, timeout=60)
        assert client.task.cancelled()
        assert client.events == ["stream.open", "message"]
