"""Backends of one colour serve both, through the whole bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.backends.memory import MemoryBackend
from sse_bridge.config import Settings
from sse_bridge.errors import ChannelClosed, ConfigurationError


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
            assert stream.wait_ready(10)
            positions = [bridge.publish("a", n) for n in range(3)]
            assert [stream.next(10).data for _ in range(3)] == [0, 1, 2]
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
        assert await stream.wait_ready(10)
        await bridge.apublish("a", 1)
        await bridge.apublish("b", 2)
        assert sorted([(await stream.next(10)).data for _ in range(2)]) == [1, 2]
        assert [event.data for event in await bridge.ahistory("a")] == [1]


@pytest.mark.parametrize("kind", [SyncOnly, AsyncOnly])
def test_both_at_once(kind: Any) -> None:
    backend = kind()
    with Bridge(backend=backend) as bridge:
        bridge.publish("a", "from a thread")

        async def read() -> Sequence[Any]:
            async with bridge.asubscribe("a", after="earliest") as stream:
                return [(await stream.next(10)).data]

        assert asyncio.run(read()) == ["from a thread"]


def test_no_colour_at_all() -> None:
    with pytest.raises(ConfigurationError, match="append, read, upstream, close"):
        Bridge(backend=object())
