"""What only the memory backend has: queues of live messages in this process, and publishers that wait for readers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.backends import memory, memory_upstream
from sse_bridge.backends.memory import Hold, MemoryBackend
from sse_bridge.hub import loop


def test_a_hold_that_is_released_while_a_publisher_looks_at_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with Bridge("memory://") as bridge:
        backend = bridge.backend
        assert isinstance(backend, MemoryBackend)
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
        for _ in range(3):
            backend.hold("a", 10)
        bridge.publish("a", 1)
        leaving[0].join(10)
        assert not leaving[0].is_alive()


async def test_a_busy_loop_holds_bounded_memory_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_upstream, "PENDING_BYTES", 10_000)
    monkeypatch.setattr(loop, "TICK_SECONDS", 1000.0)  # no position check helps
    async with Bridge("memory://") as bridge, bridge.asubscribe(["a", "b"]) as stream:
        assert await stream.wait_ready(10)
        (upstream,) = bridge.backend._logs["a"].upstreams  # type: ignore[attr-defined]

        def publish() -> None:
            for n in range(200):
                bridge.publish("ab"[n // 100], n)

        thread = threading.Thread(target=publish)
        thread.start()
        thread.join(10)  # this loop stands still meanwhile
        assert 3 < len(upstream.queue) < 30
        seen: list[Any] = []
        while (event := await stream.next(10)) is not None and event.data != 199:
            assert event.type == "message", event
            seen.append(event.data)
        while len(seen) < 199 and (event := await stream.next(10)) is not None:
            seen.append(event.data)
        assert [n for n in seen if n < 100] == list(range(100))
        assert [n for n in seen if n >= 100] == list(range(100, 199))


def test_a_loop_that_is_gone_leaves_nothing_behind() -> None:
    with Bridge("memory://") as bridge:

        async def subscribe() -> Any:
            stream = bridge.asubscribe("a")
            assert await stream.wait_ready(10)
            return stream

        for _ in range(2):
            gone = asyncio.new_event_loop()
            stream = gone.run_until_complete(subscribe())
            bridge.publish("a", 0)  # handing it on is scheduled, and the loop never runs again
            gone.close()
            assert not stream.closed
        bridge.publish("a", 1)
        assert bridge.backend._logs["a"].upstreams == set()  # type: ignore[attr-defined]

        async def hubs() -> int:
            bridge.loop_hub()
            return len(bridge._loop_hubs)

        assert asyncio.run(hubs()) == 1
