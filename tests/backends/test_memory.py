"""What only the memory backend has: queues of live messages in this process, and publishers that wait for readers."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.backends import memory, memory_upstream
from sse_bridge.backends.memory import Hold, MemoryBackend
from sse_bridge.config import Settings
from sse_bridge.errors import PublishBlocked
from sse_bridge.hub import loop
from sse_bridge.records.continuity import ReadRequest
from tests.backends.sides import batch


def test_a_hold_that_is_released_while_a_publisher_looks_at_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with Bridge("memory://") as bridge:
        backend = bridge.backend
        assert isinstance(backend, MemoryBackend)
        bridge.publish("a", 0)
        holds = [backend.hold("a", 10) for _ in range(3)]
        leaving: list[threading.Thread] = []

        class Slow(Hold):
            """A publisher that is interrupted right here."""

            __slots__ = ()

            @property
            def capacity(self) -> int:
                if not leaving:
                    leaving.append(threading.Thread(target=holds[0].release))
                    leaving[0].start()
                    leaving[0].join(0.2)
                return 10

            @capacity.setter
            def capacity(self, value: int) -> None: ...

        monkeypatch.setattr(memory, "Hold", Slow)
        holds += [backend.hold("a", 10) for _ in range(3)]
        bridge.publish("a", 1)
        leaving[0].join(60)
        assert not leaving[0].is_alive()


async def test_a_busy_loop_holds_bounded_memory_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_upstream, "PENDING_BYTES", 10_000)
    monkeypatch.setattr(loop, "TICK_SECONDS", 1000.0)  # no position check helps
    async with Bridge("memory://") as bridge, bridge.asubscribe(["a", "b"]) as stream:
        assert await stream.wait_ready(60)
        (upstream,) = bridge.backend._upstreams["a"]  # type: ignore[attr-defined]

        def publish() -> None:
            for n in range(200):
                bridge.publish("ab"[n // 100], n)

        thread = threading.Thread(target=publish)
        thread.start()
        thread.join(60)  # this loop stands still meanwhile
        assert 3 < len(upstream.queue) < 30
        seen: list[Any] = []
        while (event := await stream.next(60)) is not None and event.data != 199:
            assert event.type == "message", event
            seen.append(event.data)
        while len(seen) < 199 and (event := await stream.next(60)) is not None:
            seen.append(event.data)
        assert [n for n in seen if n < 100] == list(range(100))
        assert [n for n in seen if n >= 100] == list(range(100, 199))


def test_a_loop_that_is_gone_leaves_nothing_behind() -> None:
    with Bridge("memory://") as bridge:

        async def subscribe() -> Any:
            stream = bridge.asubscribe("a")
            assert await stream.wait_ready(60)
            return stream

        for _ in range(2):
            gone = asyncio.new_event_loop()
            stream = gone.run_until_complete(subscribe())
            bridge.publish("a", 0)  # handing it on is scheduled, and the loop never runs again
            gone.close()
            assert not stream.closed
        bridge.publish("a", 1)
        assert "a" not in bridge.backend._upstreams  # type: ignore[attr-defined]

        async def hubs() -> int:
            bridge.loop_hub()
            return len(bridge._loop_hubs)

        assert asyncio.run(hubs()) == 1


def test_readers_and_ephemeral_events_make_no_channels_and_take_nobodys_log() -> None:
    backend = MemoryBackend(Settings(memory_max_channels=10))
    for number in range(10):
        backend.append(batch(f"log-{number}", b"x"))
    for number in range(100):
        backend.read([ReadRequest(f"read-{number}")])
        backend.append(batch(f"told-{number}", b"x", ephemeral=True))
        backend.hold(f"held-{number}", 10).release()
    assert list(backend._logs) == [f"log-{number}" for number in range(10)]
    assert (backend.holds, backend._upstreams) == ({}, {})


def test_channels_in_use_are_kept_however_many_they_are() -> None:
    backend = MemoryBackend(Settings(memory_max_channels=10))
    holds = [backend.hold(f"held-{number}", 10) for number in range(200)]
    for hold in holds:
        hold.offset = 10
    for number in range(200):
        backend.append(batch(f"held-{number}", b"x"))
    for number in range(300):
        backend.append(batch(f"quiet-{number}", b"x"))
    assert set(backend._logs) >= {f"held-{number}" for number in range(200)}
    assert len(backend._logs) <= 210  # and a few that were not come upon yet
    for hold in holds:
        hold.release()
    for number in range(20):
        backend.append(batch(f"last-{number}", b"x"))
    assert list(backend._logs) == [f"last-{number}" for number in range(10, 20)]


def test_room_is_made_at_the_price_of_one_append() -> None:
    """At a bound, an append must not look at all channels: every publisher and reader waits for its lock."""

    def seconds(channels: int, **bound: int) -> float:
        backend = MemoryBackend(Settings(**bound))
        for number in range(channels):
            backend.append(batch(f"old-{number}", b"x" * 100))
        appends = [batch(f"new-{number}", b"x" * 100) for number in range(200)]
        gc.disable()  # a collection of all that a test process has would count
        try:
            began = time.thread_time()  # these are milliseconds: whoever has the processor meanwhile must not count
            for append in appends:
                backend.append(append)
            return time.thread_time() - began
        finally:
            gc.enable()

    assert seconds(20_000, memory_max_channels=20_000) < 20 * seconds(200, memory_max_channels=200)
    # ten thousand metas of logs that were dropped, and a hundred logs that fit
    assert seconds(20_000, memory_max_bytes=65_536) < 20 * seconds(500, memory_max_bytes=65_536)


async def test_who_waited_for_room_in_vain_is_forgotten() -> None:
    backend = MemoryBackend(Settings(block_timeout_seconds=0.01))
    hold = backend.hold("a", 1)
    await backend.aappend(batch("a", b"1"))
    for _ in range(5):
        with pytest.raises(PublishBlocked):
            await backend.aappend(batch("a", b"2"))
    assert backend._room_waiters == []
    hold.release()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_hold_that_is_the_first_use_in_a_child_counts() -> None:
    backend = MemoryBackend(Settings(block_timeout_seconds=0.01))
    backend.append(batch("a", b"parent"))
    pid = os.fork()
    if pid == 0:
        try:
            hold = backend.hold("a", 1)
            backend.append(batch("a", b"1"))
            try:
                backend.append(batch("a", b"2"))
            except PublishBlocked:
                hold.release()
                os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
