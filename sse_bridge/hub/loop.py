"""The hub on asyncio: one per bridge and running loop. Everything here runs on that loop.

Who waits on whom: readers wait for `wake`; the upstream's task (or the memory backend's call) brings live messages;
reads of the log are short tasks, a few at once; one timer ticks once a second while there are feeds. A failed read is
tried again by the board's backoff. When the last lingering channel is gone the upstream closes, and nothing is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ..backends.admission import CONTROL
from ..backends.base import AsyncBackend, Upstream
from ..config import Settings
from ..errors import SSEBridgeError
from ..follow.feed import Feed
from ..follow.follower import Batch, Follower
from ..follow.page import ReadRequest
from ..follow.wish import Wish
from ..records import Announcement
from .alarms import Alarms
from .cohort import Cohort, Cohorts, Rendering, Target
from .guards import LoopGuard
from .guests import LoopGuest
from .holds import Holds
from .switchboard import Reader, Switchboard, log_lag
from .tally import Tally
from .ward import Stay

TICK_SECONDS: Final = 1.0
READ_TASKS: Final = 4  # round trips of reads at once

logger = logging.getLogger("sse_bridge.hub")


class LoopReader:
    """One follower on this hub. Not safe for concurrent use: one task pulls at a time.

    Attributes:
        closed: set by the hub or by `close`; a waiting `wait` returns at once.
        cohort: the readers it shares its work with; it is not woken by itself then.
        on_wake: what `wake` calls instead of ending a `wait`; for readers that are pushed to.
    """

    __slots__ = ("_hub", "_waiter", "_woken", "closed", "cohort", "follower", "holds", "on_wake")

    def __init__(self, hub: LoopHub, follower: Follower, holds: Holds) -> None:
        self.follower = follower
        self.holds = holds
        self.closed = False
        self.cohort: Cohort | None = None
        self.on_wake: Callable[[], None] | None = None
        self._hub = hub
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None

    def pull(self, max_bytes: int) -> Batch | None:
        """What is there now; None: wait."""
        batch = self._hub.board.pull(self.follower, max_bytes)
        if batch is None:
            self._hub.work()
        log_lag(self.follower)
        self.holds.advance(self.follower)
        return batch

    def ready(self) -> bool:
        """Every channel is subscribed and read."""
        ready = self._hub.board.ready(self.follower) and self._hub.guard.ward.ready(self)
        if not ready:
            self._hub.work()
        return ready

    def wake(self) -> None:
        if self.on_wake is not None:
            self.on_wake()
            return
        self._woken = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self, until: float | None = None) -> None:
        """Waits for a wake, or until `until` (`time.monotonic`; up to a tick late). Safe to cancel."""
        if not self._woken and not self.closed:
            if until is not None:
                self._hub.alarms.arm(self, until)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._woken = False

    def close(self) -> None:
        """Gives everything back; idempotent. On the hub's loop only."""
        if not self.closed:
            self.closed = True
            self.holds.release()
            self._hub.leave(self)
            self.wake()

    def abandon(self) -> None:
        """For finalizers and other threads: lets the loop close it."""
        loop = self._hub.loop
        if not self.closed and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it was closed just now
                loop.call_soon_threadsafe(self.close)


class LoopHub:
    """See the module."""

    def __init__(self, backend: AsyncBackend, settings: Settings, tally: Tally | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.board = Switchboard(settings, tally)
        self.alarms: Alarms[LoopReader] = Alarms()
        self.closed = False
        self.cohorts = Cohorts(self.board, settings.max_write_bytes, LoopReader.close)
        self._backend = backend
        self.guard = LoopGuard(self, backend, settings)
        self._upstream: Upstream | None = None
        self._reading: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None

    def readers(self) -> int:
        """How many readers are on this hub, in cohorts or alone."""
        alone = sum(1 for reader in self.board.readers() if isinstance(reader, LoopReader))
        return alone + len(self.cohorts.members())

    def behind(self) -> int:
        """How many entries the slowest reader is behind the head; a pushed one is as far as its cohort."""
        return max((reader.follower.behind for reader in self.board.readers()), default=0)

    def enter(self, wish: Wish) -> LoopReader:
        reader = LoopReader(self, self.board.follower(wish), Holds(self._backend, wish))
        self.board.join(reader)
        try:
            self._subscribe()
        except BaseException:
            reader.close()
            raise
        self.work()
        return reader

    def register(self, reader: LoopReader, user: str | None, stream: Stay, heir_of: LoopReader | None = None) -> None:
        """This reader is a client's stream: it may be revoked, and be one of too many.

        Args:
            heir_of: the reader of the same connection that it replaces.
        """
        channels = tuple(cursor.channel for cursor in reader.follower.cursors)
        self.guard.ward.join(reader, user, channels, stream, heir_of)
        self._subscribe()

    def attend(self, user: str, stream: Stay) -> LoopGuest:
        """A user's stream that follows no channel here; `LoopGuest.admit` follows."""
        guest = LoopGuest(self, stream)
        self.guard.ward.join(guest, user, (), stream)
        try:
            if self.guard.ward.supported:
                self._subscribe()
        except BaseException:
            guest.close()
            raise
        return guest

    def leave(self, reader: LoopReader) -> None:
        if reader.cohort is not None:
            reader.cohort.drop(reader)
        self.board.leave(reader, time.monotonic())
        self.alarms.disarm(reader)
        if self.guard.ward.leave(reader):
            self.guard.work()

    def gather(self, reader: LoopReader, target: Target, rendering: Rendering) -> bool:
        """See `Cohorts.gather`."""
        return not reader.closed and self.cohorts.gather(reader, target, rendering)

    def work(self) -> None:
        """Starts the reads that are due."""
        if self.board.next_read_at() is None:
            return
        while len(self._reading) < READ_TASKS and not self.closed:
            due = self.board.reads(time.monotonic())
            if not due:
                break
            task = self.loop.create_task(self._read(due))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)
        when = self.board.next_read_at()
        pause = 0.0 if when is None else when - time.monotonic()
        if pause > 0 and self._retry is None and not self.closed:  # else the end of a read under way looks again
            self._retry = self.loop.call_later(pause, self._work_again)

    def close(self) -> None:
        """Ends every reader; on the loop. Idempotent."""
        if self.closed:
            return
        self.closed = True
        readers: set[LoopReader] = {reader for reader in self.board.readers() if isinstance(reader, LoopReader)}
        for reader in readers.union(self.cohorts.members()):
            reader.close()
        for guest in self.guard.ward.guests():
            assert isinstance(guest, LoopGuest)
            guest.dismiss()
        for handle in (self._timer, self._retry):
            if handle is not None:
                handle.cancel()
        for task in self._reading:
            task.cancel()
        upstream, self._upstream = self._upstream, None
        self.guard.unlink(upstream)

    # the Sink

    def announced(self, channel: str, announcement: Announcement | None) -> None:
        self.board.announced(channel, announcement)

    def confirmed(self, channel: str) -> None:
        self.board.confirmed(channel)
        if channel == CONTROL:
            self.guard.ward.confirmed()
            self.guard.work()

    def lost(self, channels: Sequence[str] | None, why: str) -> None:
        if channels is None or CONTROL in channels:
            self.guard.ward.lost(time.monotonic())
        if self.board.lost(channels):
            logger.warning("the broker link is lost (%s); readers stay and will be resynchronised", why)

    def told(self, message: bytes) -> None:
        self.guard.told(message)

    def flush(self) -> None:
        _wake(self.board.changed())
        self.work()

    # inside

    def _subscribe(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(TICK_SECONDS, self._tick)
        if self._upstream is None:  # first: if that fails, the channels are still the next reader's to subscribe
            self._upstream = self._backend.aupstream(self)
        channels = self.board.subscribes()
        if channels:
            self._upstream.subscribe(channels)
        self.guard.link(self._upstream)

    def _work_again(self) -> None:
        self._retry = None
        self.work()

    async def _read(self, due: list[tuple[Feed, ReadRequest]]) -> None:
        try:
            pages = await self._backend.aread([request for _, request in due])
        except SSEBridgeError as error:
            logger.warning("reading the log of %d channels failed, trying again: %s", len(due), error)
            self.board.failed([feed for feed, _ in due], time.monotonic())
        except BaseException:
            self.board.failed([feed for feed, _ in due], time.monotonic())
            raise
        else:
            for (feed, _), page in zip(due, pages, strict=True):
                self.board.resolved(feed, page)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._reading.discard(task)
        self.flush()

    def _tick(self) -> None:
        now = time.monotonic()  # not the loop's own clock, which threads cannot read
        self._timer = None
        _wake(self.alarms.due(now))
        self.guard.tick(now)
        gone = self.board.unsubscribes(now)
        if gone and self._upstream is not None:
            self._upstream.unsubscribe(gone)
        if not self.board.feeds and not self.guard.ward.busy:
            upstream, self._upstream = self._upstream, None
            self.guard.unlink(upstream)
            return
        self.board.check_some(now)
        self.work()
        self._timer = self.loop.call_later(TICK_SECONDS, self._tick)


def _wake(readers: Iterable[Reader]) -> None:
    for reader in readers:
        try:
            reader.wake()
        except Exception:
            logger.exception("waking a reader failed; the others go on")
