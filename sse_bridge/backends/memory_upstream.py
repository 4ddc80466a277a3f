"""The live link of the memory backend: one queue per hub, filled by publishers, emptied towards the hub.

Publishers put messages in under the backend's lock, which gives them the log's order; they are handed on outside of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..locks import held
from ..records import Announcement
from .base import Sink

if TYPE_CHECKING:
    from .memory import MemoryBackend

PENDING_BYTES: Final = 16 * 2**20  # that one upstream's queue holds, roughly: more than a few windows could keep


class MemoryUpstream:
    """A queue of live messages that its sink gets in order, from one thread at a time."""

    def __init__(self, backend: MemoryBackend, sink: Sink, loop: asyncio.AbstractEventLoop | None) -> None:
        self.queue: deque[tuple[str, Announcement | bytes | None, int]] = deque()
        self._channels: set[str] = set()
        self._bytes_put = 0  # by publishers, under the backend's lock
        self._bytes_taken = 0  # by whoever hands on
        self._backend = backend
        self._sink = sink
        self._loop = loop
        self._handing_on = threading.Lock()
        self._scheduled = False
        self._closed = False

    def subscribe(self, channels: Sequence[str]) -> None:
        with self._backend._lock:
            for channel in channels:
                self._backend._log(channel).upstreams.add(self)
                self._channels.add(channel)
                self.queue.append((channel, None, 0))
        self.hand_on()

    def unsubscribe(self, channels: Sequence[str]) -> None:
        with self._backend._lock:
            for channel in channels:
                self._channels.discard(channel)
                if channel in self._backend._logs:
                    self._backend._logs[channel].upstreams.discard(self)

    def close(self) -> None:
        self._closed = True
        with self._backend._lock:
            for log in self._backend._logs.values():
                log.upstreams.discard(self)

    def put(self, channel: str, announcement: Announcement | bytes, size: int) -> None:
        """Queues a live message, or the bytes of a control message; under the backend's lock."""
        if self._bytes_put - self._bytes_taken > PENDING_BYTES:
            self.queue.clear()
            self._bytes_put = self._bytes_taken
            self.queue.extend((name, None, 0) for name in self._channels)
        self._bytes_put += size
        self.queue.append((channel, announcement, size))

    def hand_on(self) -> None:
        """Lets the sink have what is queued; any number of threads may call it."""
        if self._loop is None:
            # The collector may publish in the middle of a hub's pass; then the next to come, or a check, takes it.
            if not held():
                self._drain()
        elif self._loop.is_closed():  # perhaps before it came to what was scheduled
            self.close()
        elif not self._scheduled:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed: nobody is left to tell
                self.close()

    def _drain(self) -> None:
        self._scheduled = False
        while self.queue and self._handing_on.acquire(blocking=False):  # whoever holds it takes our items too
            try:
                while not self._closed:
                    try:
                        channel, announcement, size = self.queue.popleft()
                    except IndexError:
                        break
                    self._bytes_taken += size
                    if announcement is None:
                        self._sink.confirmed(channel)
                    elif isinstance(announcement, bytes):
                        self._sink.told(announcement)
                    else:
                        self._sink.announced(channel, announcement)
                self._sink.flush()
            finally:
                self._handing_on.release()
            if self._closed:
                return
