"""`Bridge.drain`: every stream of the process ends on a frame with its own retry, and none begins any more."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest

from sse_bridge import Bridge, draining
from sse_bridge.errors import AsyncContextError, InvalidInput
from sse_bridge.streams import StreamRequest, stream_channels, stream_source
from tests.support.wait import await_for, wait_for


def parts(bridge: Bridge) -> list:
    """A stream of a channel, and one of an iterable that is never done."""

    def silence():
        while True:
            yield ": nothing happens\n"
            if bridge.streams.draining:
                return

    channels = stream_channels(bridge, "a", StreamRequest())
    source = stream_source(bridge, silence, StreamRequest(), own_thread=True)
    return [channels.bodies, source.bodies]


class Reading:
    """A body, read by a thread as a WSGI server reads it."""

    def __init__(self, body) -> None:
        self.pieces: list[bytes] = []
        self.thread = threading.Thread(target=self._read, args=(body,), daemon=True)
        self.thread.start()

    def _read(self, body) -> None:
        for piece in body:
            self.pieces.append(piece)
        body.close()


def test_streams_of_threads_end_each_with_its_own_retry() -> None:
    with Bridge("memory://", retry_min_ms=1000, retry_max_ms=100_000) as bridge:
        readings = [Reading(parts(bridge)[0].sync_body()) for _ in range(5)]
        wait_for(lambda: all(reading.pieces for reading in readings), what="every stream to open")
        assert bridge.drain(0.1) is True
        assert len(bridge.streams) == 0
        retries = set()
        for reading in readings:
            reading.thread.join(60)
            last = b"".join(reading.pieces).decode().split("\n\n")[-2]
            assert "event: stream.close" in last
            retries |= set(re.findall(r"retry: (\d+)", last))
        assert len(retries) > 1


async def test_streams_of_a_loop_end_and_sources_too() -> None:
    async with Bridge("memory://") as bridge:
        bodies = [each.async_body() for each in parts(bridge)]
        pieces: list[list[bytes]] = [[], []]

        async def read(index: int) -> None:
            async for piece in bodies[index]:
                pieces[index].append(piece)
            bodies[index].close()

        tasks = [asyncio.ensure_future(read(index)) for index in range(2)]
        await await_for(lambda: all(pieces), what="both streams to open")
        assert await bridge.adrain(0) is True
        await asyncio.gather(*tasks)
        assert b"event: stream.close" in b"".join(pieces[0])


def test_a_stream_that_comes_later_is_sent_on_at_once_and_publishing_goes_on() -> None:
    with Bridge("memory://") as bridge:
        assert bridge.drain(0) is True
        body = parts(bridge)[0].sync_body()
        assert b"event: stream.close" in b"".join(body)
        bridge.publish("a", 1)
        with bridge.subscribe("a", after="earliest") as stream:
            assert stream.next(60).data == 1


def test_a_stream_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "GRACE_SECONDS", 0.1)
    with Bridge("memory://") as bridge:
        body = parts(bridge)[0].sync_body()
        next(body)  # and its client takes nothing more
        assert bridge.drain(0) is False
        body.close()


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan"), "5", True, 3601])
def test_what_is_no_time(seconds: object) -> None:
    with Bridge("memory://") as bridge, pytest.raises(InvalidInput, match="3600"):
        bridge.drain(seconds)


async def test_on_a_loop_it_names_its_twin() -> None:
    async with Bridge("memory://") as bridge:
        with pytest.raises(AsyncContextError, match="adrain"):
            bridge.drain()
