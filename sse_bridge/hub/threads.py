"""The hub on threads and greenlets: one per bridge and process. No asyncio anywhere.

One lock guards the board; it is held for decisions and writes that do not wait. Two daemon threads (greenlets
where threading is patched) serve any number of readers: the upstream's, which brings live messages, and the *keeper*,
which reads the log when that is due and ticks once a second for alarms, lingering channels and position checks.
Readers wait on their own waker; those whose server lets the hub write (streams/sockets.py) are in cohorts, and sleep while
events pass. Order of locks: the hub's before the backend's, and no upstream call under the hub's.

A forked child has neither of the threads, and perhaps a lock that nobody will release: readers that it inherited are
over there, and closing one touches nothing. The bridge makes a new hub in the child.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from ..backends.admission import CONTROL
from ..backends.base import SyncBackend, Upstream
from ..config import Settings
from ..errors import BridgeClosed, SSEBridgeError
from ..follow.feed import Feed
from ..follow.page import ReadRequest
from ..follow.wish import Wish
from ..locks import Lock
from ..records import Announcement
from ..reports import Report, hold_reports, log_reports, take_reports
from .alarms import Alarms
from .cohort import Cohort, Cohorts, Rendering, Target
from .guards import ThreadGuard
from .guests import ThreadGuest
from .holds import Holds
from .switchboard import Reader, Switchboard
from .tally import Tally
from .thread_reader import ThreadReader
from .wakers import new_waker
from .ward import Stay

TICK_SECONDS: Final = 1.0

logger = logging.getLogger("sse_bridge.hub")

_forks = 0  # between the first interpreter and this process; a pull may look at it, getpid is a system call


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class ThreadHub:
    """See the module.

    Attributes:
        lock: guards the board, the alarms and `closed`.
        closed: no reader may enter any more.
        abandoned: readers and guests whose owner forgot to close them.
    """

    def __init__(self, backend: SyncBackend, settings: Settings, tally: Tally | None = None) -> None:
        self.lock = Lock()
        self.board = Switchboard(settings, tally)
        self.cohorts = Cohorts(self.board, settings.max_write_bytes, self._expel)
        self.alarms: Alarms[ThreadReader] = Alarms()
        self.closed = False
        self.abandoned: deque[ThreadReader | ThreadGuest] = deque()
        self._pid = os.getpid()
        self._forks = _forks
        self._backend = backend
        self.guard = ThreadGuard(self, backend, settings)
        self._upstream: Upstream | None = None
        self._upstream_lock = threading.Lock()  # (un)subscribe calls leave in the order of the board's decisions
        self._keeper: threading.Thread | None = None
        self._keeper_waker = new_waker()

    def enter(self, wish: Wish) -> ThreadReader:
        """A new reader.

        Raises:
            BridgeClosed: the hub was closed meanwhile.
        """
        holds = Holds(self._backend, wish)
        reader: ThreadReader | None = None
        try:
            with self.lock:
                self._open()
                reader = ThreadReader(self, self.board.follower(wish), holds)
                self.board.join(reader)
            self._subscribe()
        except BaseException:
            holds.release()
            if reader is not None:
                reader.close()
            raise
        self.work()
        return reader

    def attend(self, user: str, stream: Stay) -> ThreadGuest:
        """A user's stream that follows no channel here; `ThreadGuest.admit` follows.

        Raises:
            BridgeClosed: the hub was closed meanwhile.
        """
        guest = ThreadGuest(self, stream)
        with self.lock:
            self._open()
            self.guard.ward.join(guest, user, (), stream)
        try:
            if self.guard.ward.supported:
                self._subscribe()
        except BaseException:
            guest.close()
            raise
        return guest

    def readers(self) -> int:
        """How many readers are on this hub."""
        with self.lock:
            return len(self._all_readers())

    def gather(self, reader: ThreadReader, target: Target, rendering: Rendering) -> bool:
        """See `Cohorts.gather`."""
        self.check_process()
        reports: list[Report] = []
        try:
            with self.lock:
                if reader.closed:
                    return False
                hold_reports()
                try:
                    return self.cohorts.gather(reader, target, rendering)
                finally:
                    reports = take_reports()
        finally:
            log_reports(reports)

    def register(self, reader: ThreadReader, user: str | None, stream: Stay) -> None:
        """This reader is a client's stream: it may be revoked, and be one of too many."""
        with self.lock:
            self.guard.ward.join(reader, user, tuple(cursor.channel for cursor in reader.follower.cursors), stream)
        self._subscribe()

    def behind(self) -> int:
        """How many entries the slowest reader is behind the head."""
        with self.lock:
            readers = self.board.readers()
        return max((reader.follower.behind for reader in readers), default=0)  # numbers only: no lock is needed

    def leave(self, reader: ThreadReader) -> None:
        with self.lock:
            self.board.leave(reader, time.monotonic())
            self.alarms.disarm(reader)
            released = self.guard.ward.leave(reader)
        if released:
            self.work()

    def work(self) -> None:
        """Lets the keeper do what is due."""
        self._keeper_waker.wake()

    @property
    def idle(self) -> bool:
        """Nothing is to be read; ask under the lock."""
        return self.board.next_read_at() is None

    @property
    def inherited(self) -> bool:
        """This is a forked child of the process that made the hub."""
        return self._forks != _forks

    def check_process(self) -> None:
        if self.inherited:
            raise BridgeClosed(
                f"this subscription belongs to process {self._pid} and ended with the fork; subscribe again in the child"
            )

    def close(self) -> None:
        """Ends every reader and both threads. Idempotent."""
        if self.inherited:
            self.closed = True
            return
        with self.lock:
            if self.closed:
                return
            self.closed = True
            readers, guests = self._all_readers(), self.guard.ward.guests()
        for reader in readers:
            reader.close()
        for guest in guests:
            assert isinstance(guest, ThreadGuest)
            guest.dismiss()
        self.work()
        with self._upstream_lock:
            upstream, self._upstream = self._upstream, None
            self.guard.unlink(upstream)
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join(timeout=5.0)

    # the Sink

    def announced(self, channel: str, announcement: Announcement | None) -> None:
        with self.lock:
            self.board.announced(channel, announcement)

    def confirmed(self, channel: str) -> None:
        with self.lock:
            self.board.confirmed(channel)
            if channel == CONTROL:
                self.guard.ward.confirmed()
        if channel == CONTROL:
            self.work()

    def lost(self, channels: Sequence[str] | None, why: str) -> None:
        with self.lock:
            news = self.board.lost(channels)
            if channels is None or CONTROL in channels:
                self.guard.ward.lost(time.monotonic())
        if news:
            logger.warning("the broker link is lost (%s); readers stay and will be resynchronised", why)

    def told(self, message: bytes) -> None:
        self.guard.told(message)

    def flush(self) -> None:
        if self.inherited:  # the sockets that would be written to are the parent's
            return
        alone: list[Reader] = []
        failed: list[BaseException] = []
        with self.lock:  # while it is held no member can leave its cohort, and be written to by two
            hold_reports()
            for reader in self.board.changed():
                if not isinstance(reader, Cohort):
                    alone.append(reader)
                    continue
                try:
                    reader.wake()
                except BaseException as error:  # noqa: BLE001  # it is logged or raised under no lock
                    failed.append(error)
            idle = self.idle
            reports = take_reports()
        for reader in alone:
            reader.wake()
        if not idle:
            self.work()
        log_reports(reports)
        for failure in failed:
            logger.error("pushing to readers failed; their clients come back", exc_info=failure)
        for failure in failed:
            if not isinstance(failure, Exception):  # an interrupt, in the thread of whoever publishes
                raise failure

    # inside

    def _expel(self, reader: ThreadReader) -> None:
        """Lets a reader close itself; under the lock, which closing takes."""
        reader.expelled = True
        reader.wake()

    def _all_readers(self) -> list[ThreadReader]:
        """Alone or in cohorts; under the lock."""
        alone = [reader for reader in self.board.readers() if isinstance(reader, ThreadReader)]
        return alone + self.cohorts.members()

    def _open(self) -> None:
        """Somebody comes: the keeper runs; under the lock."""
        if self.closed:
            raise BridgeClosed("this bridge was closed; make another one")
        if self._keeper is None:
            keeper = threading.Thread(target=self._keep, name="sse_bridge-keeper", daemon=True)
            keeper.start()
            self._keeper = keeper

    def _subscribe(self) -> None:
        with self._upstream_lock:
            if self.closed:
                return
            if self._upstream is None:  # first: if that fails, the channels are still the next reader's to subscribe
                self._upstream = self._backend.upstream(self)
            with self.lock:
                channels = self.board.subscribes()
            if channels:
                self._upstream.subscribe(channels)
            self.guard.link(self._upstream)

    def _keep(self) -> None:
        next_tick = time.monotonic() + TICK_SECONDS
        while not self.closed:
            try:
                while self.abandoned:
                    self.abandoned.popleft().close()
                self._read_due()
                self.guard.work()
                now = time.monotonic()
                if now >= next_tick:
                    next_tick = now + TICK_SECONDS
                    if not self._tick(now):
                        return
            except Exception:
                logger.exception("the keeper met an unexpected error and goes on")
            with self.lock:
                when = self.board.next_read_at()
            wake_at = next_tick if when is None else min(next_tick, when)
            self._keeper_waker.wait(max(0.0, wake_at - time.monotonic()))
        self.guard.work()  # what the last readers held

    def _read_due(self) -> None:
        while not self.closed:
            with self.lock:
                due = self.board.reads(time.monotonic())
            if not due:
                return
            self._read(due)
            self.flush()

    def _read(self, due: list[tuple[Feed, ReadRequest]]) -> None:
        try:
            pages = self._backend.read([request for _, request in due])
        except BaseException as error:
            with self.lock:
                self.board.failed([feed for feed, _ in due], time.monotonic())
            if not isinstance(error, SSEBridgeError):
                raise
            logger.warning("reading the log of %d channels failed, trying again: %s", len(due), error)
            return
        with self.lock:
            for (feed, _), page in zip(due, pages, strict=True):
                self.board.resolved(feed, page)

    def _tick(self, now: float) -> bool:
        """Once a second; False when no feed is left and the keeper may end."""
        with self.lock:
            sleepers = self.alarms.due(now)
            self.board.check_some(now)
        for reader in sleepers:
            reader.wake()
        self.guard.tick(now)
        with self._upstream_lock:
            with self.lock:
                gone = self.board.unsubscribes(now)
                idle = not self.board.feeds and not self.guard.ward.busy
                if idle:
                    self._keeper = None  # the next reader starts another
            if idle:
                upstream, self._upstream = self._upstream, None
                self.guard.unlink(upstream)
            elif gone and self._upstream is not None:
                self._upstream.unsubscribe(gone)
        return not idle
