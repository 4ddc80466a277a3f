"""Readers of healthy channels while others of the same process are in trouble: they must notice nothing."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any, Self

from sse_bridge import Bridge
from tests.faults.registry import Tally
from tests.support.wait import wait_for

PACE_SECONDS = 0.01


class Neighbours:
    """Threads and a loop that read `channels` over one bridge, and a thread that publishes to them over another one.

    Attributes:
        bridge: the readers'; a test opens its readers of sick channels on it.
        loop: where the asyncio readers are, for more of them.
        tally: what came of it; judged behind the with statement.
        latest: the longest time from a publish that returned to a reader's hands, seconds.
    """

    def __init__(self, url: str, channels: Sequence[str], **settings: Any) -> None:
        settings = {"linger_seconds": 0, "check_seconds": 1, "link_timeout_seconds": 2, **settings}
        self.bridge = Bridge(url, **settings)
        self.channels = list(channels)
        self.tally = Tally(lost=0, doubled=0, reordered=0, gaps=0)
        self.latest = 0.0
        self.published: dict[str, int] = dict.fromkeys(self.channels, 0)
        self.loop = asyncio.new_event_loop()
        self._publisher = Bridge(url, **settings)
        self._seen: dict[tuple[str, str], list[int]] = {}
        self._gaps: list[str] = []
        self._stop = threading.Event()
        self._loop_thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._threads = [threading.Thread(target=self._publish, daemon=True)]
        self._threads += [threading.Thread(target=self._read, args=(channel,), daemon=True) for channel in channels]

    def __enter__(self) -> Self:
        self._loop_thread.start()
        self._tasks = [asyncio.run_coroutine_threadsafe(self._aread(channel), self.loop) for channel in self.channels]
        for thread in self._threads[1:]:
            thread.start()
        wait_for(lambda: len(self._seen) == 2 * len(self.channels), what="all readers to be ready")
        self._threads[0].start()
        self.flow()
        return self

    def flow(self, events: int = 10) -> None:
        """Every reader gets so many more; what is late is noted, not waited for."""
        aims = {channel: number + events for channel, number in self.published.items()}
        for (channel, _), seen in list(self._seen.items()):
            wait_for(lambda seen=seen, aim=aims[channel]: len(seen) >= aim, 60, what=f"events on {channel}")  # type: ignore[misc]

    def fresh(self) -> float:
        """Seconds until a new reader of a healthy channel is ready, the slower of both colours."""
        began = time.monotonic()
        with self.bridge.subscribe(self.channels[0]) as stream:
            assert stream.wait_ready(60)
        asyncio.run_coroutine_threadsafe(self._aopen(self.channels[0]), self.loop).result(60)
        return time.monotonic() - began

    async def _aopen(self, channel: str) -> None:
        async with self.bridge.asubscribe(channel) as stream:
            assert await stream.wait_ready(60)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stop.set()
        self._threads[0].join(60)
        if kind is None:
            self.flow(0)
            self._judge()
        asyncio.run_coroutine_threadsafe(self.bridge.aclose(), self.loop).result(60)
        self._publisher.close()
        for thread in self._threads[1:]:
            thread.join(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._loop_thread.join(60)
        self.loop.close()

    def _judge(self) -> None:
        tally = self.tally
        tally.published = sum(self.published.values())
        tally.gaps = len(self._gaps)
        tally.wrong += [f"readers of healthy channels were told of a gap: {gap}" for gap in self._gaps[:3]]
        for (channel, _), seen in self._seen.items():
            tally.lost += len(set(range(self.published[channel])) - set(seen))
            tally.doubled += len(seen) - len(set(seen))
            tally.reordered += sum(a > b for a, b in itertools.pairwise(seen))

    def _publish(self) -> None:
        while not self._stop.wait(PACE_SECONDS):
            for channel in self.channels:
                self._publisher.publish(channel, [self.published[channel], time.monotonic()])
                self.published[channel] += 1

    def _note(self, channel: str, colour: str, event: Any) -> None:
        if event.type == "stream.gap":
            self._gaps.append(f"{channel}: {event.data}")
            return
        number, at = event.data
        self.latest = max(self.latest, time.monotonic() - at)
        self._seen[channel, colour].append(number)

    def _read(self, channel: str) -> None:
        with self.bridge.subscribe(channel) as stream:
            assert stream.wait_ready(60)
            self._seen[channel, "threads"] = []
            for event in stream:
                self._note(channel, "threads", event)

    async def _aread(self, channel: str) -> None:
        async with self.bridge.asubscribe(channel) as stream:
            assert await stream.wait_ready(60)
            self._seen[channel, "asyncio"] = []
            async for event in stream:
                self._note(channel, "asyncio", event)
