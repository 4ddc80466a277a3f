"""Backends of one colour serve both, through the whole bridge."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.backends.adapt import both_colours
from sse_bridge.backends.memory import MemoryBackend
from sse_bridge.config import Settings
from sse_bridge.errors import BridgeClosed, ChannelClosed, ConfigurationError


class SyncOnly:
    name = "sync-only"

    def __init__(self) -> None:
        inner = MemoryBackend(Settings())
        self.append, self.read, self.upstream, self.close = inner.append, inner.read, inner.upstream, inner.close


class AsyncOnly:
    name = "async-only"

    def __init__(self) -> None:
        inner = MemoryBackend(Settings())
        self.aappend, self.aread, self.aupstream, self.aclose = (
            inner.aappend,
            inner.aread,
            inner.aupstream,
            inner.aclose,
        )


@pytest.mark.parametrize("kind", [SyncOnly, AsyncOnly])
def test_threads(kind: Any) -> None:
    with Bridge(backend=kind()) as bridge:
        with bridge.subscribe("a") as stream:
            assert stream.wait_ready(60)
            positions = [bridge.publish("a", n) for n in range(3)]
            assert [stream.next(60).data for _ in range(3)] == [0, 1, 2]
        assert [event.data for event in bridge.history("a", after=positions[0])] == [1, 2]
        bridge.close_channel("a")
        with pytest.raises(ChannelClosed):
            bridge.publish("a", 4)
        results = bridge.publish_many([("a", 1), ("b", 2)])
        assert isinstance(results[0], ChannelClosed)
        assert results[1].offset == 1


@pytest.mark.parametrize("kind", [SyncOnly, AsyncOnly])
async def test_coroutines(kind: Any) -> None:
    async with Bridge(backend=kind()) as bridge, bridge.asubscribe(["a", "b"]) as stream:
        assert await stream.wait_ready(60)
        await bridge.apublish("a", 1)
        await bridge.apublish("b", 2)
        assert sorted([(await stream.next(60)).data for _ in range(2)]) == [1, 2]
        assert [event.data for event in await bridge.ahistory("a")] == [1]


@pytest.mark.parametrize("kind", [SyncOnly, AsyncOnly])
def test_both_at_once(kind: Any) -> None:
    backend = kind()
    with Bridge(backend=backend) as bridge:
        bridge.publish("a", "from a thread")

        async def read() -> Sequence[Any]:
            async with bridge.asubscribe("a", after="earliest") as stream:
                return [(await stream.next(60)).data]

        assert asyncio.run(read()) == ["from a thread"]


@pytest.mark.parametrize("kind", [SyncOnly, AsyncOnly])
def test_a_forked_child_publishes(kind: Any) -> None:
    with Bridge(backend=kind()) as bridge:
        bridge.publish("a", 1)
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)  # it would wait for the parent's thread for ever
            try:
                bridge.publish("a", 2)
                bridge.close()
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert bridge.publish("a", 3).offset == 2


def test_no_colour_at_all() -> None:
    with pytest.raises(ConfigurationError, match="append, read, upstream, close"):
        Bridge(backend=object())


def test_a_call_that_a_closed_loop_leaves_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a call under way, nor one that came as the loop ended, waits for ever."""
    asked = threading.Event()

    async def never(batch: Any) -> Any:
        asked.set()
        await asyncio.Event().wait()

    backend: Any = AsyncOnly()
    backend.aappend = never
    adapted: Any = both_colours(backend)
    link = adapted.upstream(Unheard())
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(adapted.append, None)
        assert asked.wait(10)
        adapted.close()
        with pytest.raises(BridgeClosed, match="before it answered"):
            under_way.result(60)
        monkeypatch.setattr(link._loop, "is_running", lambda: True)  # as it was a moment ago
        pool.submit(link.close).result(60)


class Unheard:
    """A sink that nothing is told."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


@pytest.mark.parametrize("kind", [SyncOnly, AsyncOnly])
def test_optional_parts_are_the_backends_own(kind: Any) -> None:
    backend = kind()
    assert getattr(both_colours(backend), "server_of", None) is None
    assert not getattr(both_colours(backend), "can_control", False)
    backend.server_of = len
    assert getattr(both_colours(backend), "server_of", None) is len
