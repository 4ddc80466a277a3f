"""The live link of the memory backend: one queue per hub, filled by publishers, emptied towards the hub.

Publishers queue messages under the backend's lock, which gives them the log's order, and hand them on outside of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from ..records.codec import Announcement
from ..runtime.locks import Lock, Turn, held
from .base import Sink
from .memory_hold import take_out

PENDING_BYTES: Final = 16 * 2**20  # rough bound of an upstream's queue, more than a few windows keep


class Subscribers(Protocol):
    """The part of the backend that its upstreams use: the subscribers by channel, and the lock over them."""

    _upstreams: dict[str, set[MemoryUpstream]]
    _lock: Lock


class MemoryUpstream:
    """A queue of live messages that its sink gets in order, from one thread at a time."""

    def __init__(self, backend: Subscribers, sink: Sink, loop: asyncio.AbstractEventLoop | None) -> None:
        self.queue: deque[tuple[str, Announcement | bytes | None, int]] = deque()
        self._channels: set[str] = set()
        self._bytes_put = 0  # by publishers, under the backend's lock
        self._bytes_taken = 0  # by the thread that hands on
        self._backend = backend
        self._sink = sink
        self._loop = loop
        if loop is None:
            self._turns = Turn()  # of threads; a loop runs one callback at a time
        self._scheduled = False
        self._closed = False

    def subscribe(self, channels: Sequence[str]) -> None:
        with self._backend._lock:
            for channel in channels:
                self._backend._upstreams.setdefault(channel, set()).add(self)
                self._channels.add(channel)
                self.queue.append((channel, None, 0))
        self.hand_on()

    def unsubscribe(self, channels: Sequence[str]) -> None:
        with self._backend._lock:
            for channel in channels:
                self._channels.discard(channel)
                take_out(self._backend._upstreams, channel, self)

    def close(self) -> None:
        self._closed = True
        with self._backend._lock:
            for channel in self._channels:
                take_out(self._backend._upstreams, channel, self)
            self._channels.clear()

    def put(self, channel: str, announcement: Announcement | bytes, size: int) -> None:
        """Queues a live message, or the bytes of a control message; under the backend's lock."""
        if self._bytes_put - self._bytes_taken > PENDING_BYTES:
            self.queue.clear()
            self._bytes_put = self._bytes_taken
            self.queue.extend([(name, None, 0) for name in self._channels])
        self.queue += [(channel, announcement, size)]  # no call from here to the end
        self._bytes_put += size

    def confirm_again(self, channels: Sequence[str]) -> None:
        """Lets the sink read these channels from their logs, after an interrupted call may have lost live messages."""
        self.queue.extend([(channel, None, 0) for channel in channels])
        self.hand_on()

    def hand_on(self) -> None:
        """Hands the queued messages to the sink; thread-safe."""
        if self._loop is None:
            # A finalizer may publish in the middle of a hub's pass; the next call, or a check, hands its message on.
            if not held():
                self._take_turn()
        elif self._loop.is_closed():  # perhaps before a scheduled `_drain` ran
            self.close()
        elif not self._scheduled:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed, and its readers are gone
                self.close()
            except BaseException:  # interrupted: the next message is scheduled again
                self._scheduled = False
                raise

    def _take_turn(self) -> None:
        # The thread that has the turn takes these items, too.
        while self.queue and (turn := self._turns.take()) is not None:
            try:
                self._drain()
            finally:
                self._turns.free += [turn]
            if self._closed:
                return

    def _drain(self) -> None:
        self._scheduled = False
        if not self.queue:  # an earlier turn took them
            return
        try:
            self._hand_over()
        except BaseException:
            self._lost_some()
            self._hand_over()
            raise

    def _hand_over(self) -> None:
        while not self._closed:
            try:
                channel, announcement, size = self.queue.popleft()
            except IndexError:
                break
            self._bytes_taken += size
            if announcement is None:
                self._sink.confirmed(channel)
            elif isinstance(announcement, bytes):
                self._sink.control_message(announcement)
            else:
                self._sink.announced(channel, announcement)
        self._sink.flush()

    def _lost_some(self) -> None:
        """Lets all channels be read from their logs, after an exception ended `_hand_over` early."""
        with self._backend._lock:
            self.queue.extend([(channel, None, 0) for channel in self._channels])
            self._bytes_taken = self._bytes_put - sum([size for _, _, size in self.queue])
