"""The hub on threads and greenlets: one per bridge and process. No asyncio anywhere.

One lock guards the hub's state; it is held for decisions and writes that do not wait. Two daemon threads (greenlets
where threading is patched) serve any number of readers: the upstream's, which brings live messages, and *housekeeping*,
which reads the log when that is due and ticks once a second for alarms, lingering channels and position checks. Where
the backend has several servers, each is read by a thread of its own while there is something to read, and so are
leases. Readers wait on their own waker; those whose server lets the hub write (streams/writers/socket.py) are shared,
and sleep while events pass. Order of locks: the hub's before the backend's, and no upstream call under the hub's.

An exception out of a signal handler may end any call of a reader's thread between two of its lines: a reader has an
owner before it is registered (admission/members.py), each step of its release may be repeated, and the housekeeping thread
finishes it.

A forked child has neither of the threads, and perhaps a lock that no thread will release: inherited readers are over in
the child, and closing one touches nothing. The bridge makes a new hub in the child.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Final

from ..admission.admissions import Endable
from ..admission.contract import CONTROL
from ..admission.drivers import ThreadAdmissionDriver
from ..admission.members import Owners, ThreadSourceMember
from ..backends.base import SyncBackend, Upstream
from ..config import Settings
from ..errors import BridgeClosed, SSEBridgeError
from ..follow.subscribe_request import SubscribeRequest
from ..records.codec import Announcement
from ..records.continuity import Page
from ..runtime import forks
from ..runtime.daemon import Daemon
from ..runtime.locks import new_lock, refuse_within
from ..runtime.reports import hold_reports, log_reports, take_reports
from ..runtime.wakers import new_waker
from .holds import holds_of
from .schedule import Alarms
from .shared_readers import AllSharedReaders, SharedReaders
from .state import HubState, Read, Reader
from .tally import Tally
from .thread_reader import ThreadReader
from .windows import WindowBudget
from .workers import Workers

TICK_SECONDS: Final = 1.0
JOIN_SECONDS: Final = 5.0  # for the housekeeping thread's end

logger = logging.getLogger("sse_bridge.hub")


class ThreadHub:
    """See the module.

    Attributes:
        lock: guards the state, the alarms and `closed`.
        closed: no reader may enter any more.
        owners: the objects that close its readers and source members.
    """

    def __init__(
        self, backend: SyncBackend, settings: Settings, tally: Tally | None = None, budget: WindowBudget | None = None
    ) -> None:
        self.lock = new_lock()
        # A backend of several servers says which one answers for a channel; each is read by a thread of its own.
        self._server_of: Callable[[str], Hashable] | None = getattr(backend, "server_of", None)
        self.state = HubState(settings, tally, self._server_of, budget)
        self._workers = Workers()
        self.shared_readers = AllSharedReaders(self.state, settings.max_write_bytes, self._fail)
        self.alarms: Alarms[ThreadReader] = Alarms()
        self.closed = False
        self.owners = Owners()
        self._pid = os.getpid()
        self._forks = forks.count
        self._backend = backend
        self.admission = ThreadAdmissionDriver(self.lock, backend, settings)
        self.control_message = self.admission.control_message
        self._upstream: Upstream | None = None
        # Keeps (un)subscribe calls in the order of the hub state's decisions; re-entrant for signal handlers.
        self._upstream_lock = threading.RLock()
        self._housekeeping = Daemon(self._housekeep, "sse_bridge-housekeeping")
        self._housekeeping_waker = new_waker()
        self._admission_busy = False  # a worker runs `admission.work`

    def enter(
        self, request: SubscribeRequest, owner: object = None, stream: Endable | None = None, user: str | None = None
    ) -> ThreadReader:
        """A new reader, which `owner` must close; if `owner` is collected without that, the housekeeping thread does.

        For `stream` and `user` see `LoopHub.enter`.

        Raises:
            BridgeClosed: the hub is closed.
        """
        refuse_within(self.lock)
        reader: ThreadReader | None = None
        holds = holds_of(self._backend, request)
        try:
            with self.lock:
                self._open()
                reader = ThreadReader(self, request, self.state.follower(request), holds)
                self.owners.own(owner, reader)
                self.state.join(reader)
                if stream is not None:
                    self.admission.state.join(reader, user, request.channels, stream)
            self._subscribe()
            self._check_open()  # again: a signal handler may have closed the hub before the reader joined
        except BaseException:
            for hold in holds:
                hold.release()
            if reader is not None:
                reader.close()
            raise
        return reader

    def register_source(self, user: str, stream: Endable) -> ThreadSourceMember:
        """A new source member: a user's stream that follows no channel here, and that owns the member.

        Raises:
            BridgeClosed: the hub is closed.
        """
        refuse_within(self.lock)
        member = ThreadSourceMember(self, stream)
        try:
            with self.lock:
                self._open()
                self.owners.own(stream, member)
                self.admission.state.join(member, user, (), stream)
            if self.admission.state.supported:
                self._subscribe()
            self._check_open()
        except BaseException:
            member.close()
            raise
        return member

    def readers(self) -> int:
        """The number of readers on this hub."""
        with self.lock:
            return len(self.shared_readers.readers())

    def behind(self) -> int:
        """The entries by which the slowest reader is behind the head."""
        with self.lock:
            readers = self.state.readers()
        return max((reader.follower.behind for reader in readers), default=0)  # without the lock: ints only

    def leave(self, reader: ThreadReader) -> None:
        with self.lock:
            self.state.leave(reader, time.monotonic())
            self.alarms.disarm(reader)
            released = self.admission.state.leave(reader)
            self.owners.disown(reader)
        if released:
            self.work()

    def work(self) -> None:
        """Wakes the housekeeping thread for reads and requests that are due."""
        self._housekeeping_waker.wake()

    @property
    def inherited(self) -> bool:
        """Whether this process is a forked child of the one that made the hub."""
        return self._forks != forks.count

    def check_process(self) -> None:
        if self.inherited:
            raise BridgeClosed(
                f"this subscription belongs to process {self._pid} and ended with the fork; subscribe again in the child"
            )

    def close(self) -> None:
        """Ends every reader and both threads. Idempotent; a call that was interrupted is made again."""
        self.closed = True
        if self.inherited:
            return
        with self.lock:
            readers, members = self.shared_readers.readers(), self.admission.state.source_members()
        for reader in readers:
            reader.close()
        for member in members:
            assert isinstance(member, ThreadSourceMember)
            member.hub_closed()
        self.work()
        self._workers.close()
        with self._upstream_lock:
            self.admission.unlink(self._upstream)
            self._upstream = None
        self._housekeeping.join(JOIN_SECONDS)

    # the Sink

    def announced(self, channel: str, announcement: Announcement | None) -> None:
        with self.lock:
            self.state.announced(channel, announcement)

    def confirmed(self, channel: str) -> None:
        with self.lock:
            if channel == CONTROL:
                self.admission.state.confirmed()
            else:
                self.state.confirmed(channel)
        if channel == CONTROL:
            self.work()

    def lost(self, channels: Sequence[str] | None, why: str, error: SSEBridgeError | None = None) -> None:
        with self.lock:
            news = self.state.lost(channels, error)
            if channels is None or CONTROL in channels:
                self.admission.state.lost(time.monotonic())
        if news:
            logger.warning("the broker link is lost (%s); readers stay and will be resynchronised", why)

    def flush(self) -> None:
        if self.inherited:  # the sockets are the parent's
            return
        alone: list[Reader] = []
        failed: list[BaseException] = []
        with self.lock:  # so that no member leaves its group meanwhile, and is written to by two threads
            hold_reports()
            for reader in self.state.changed():
                if not isinstance(reader, SharedReaders):
                    alone.append(reader)
                    continue
                try:
                    reader.wake()
                except BaseException as error:  # noqa: BLE001  # logged or raised once the lock is released
                    failed.append(error)
            idle = not self.state.reads_due
            reports = take_reports()
        for reader in alone:
            reader.wake()
        if not idle:
            self.work()
        log_reports(reports)
        for failure in failed:
            logger.error("pushing to readers failed; their clients come back", exc_info=failure)
        for failure in failed:
            if not isinstance(failure, Exception):  # an interrupt of the publisher's thread
                raise failure

    # inside

    def _fail(self, reader: ThreadReader) -> None:
        """Lets a reader close itself; called under the lock, which `close` takes."""
        reader.failed = True
        reader.wake()

    def _open(self) -> None:
        """Starts the housekeeping thread for a new reader; called under the lock."""
        self._check_open()
        self._housekeeping.start()

    def _check_open(self) -> None:
        if self.closed:
            raise BridgeClosed("this bridge was closed; make another one")

    def _subscribe(self) -> None:
        with self._upstream_lock:
            if self.closed:
                return
            if self._upstream is None:  # first: if that fails, the next reader subscribes the channels
                made = self._backend.upstream(self)
                if self._upstream is None:
                    self._upstream = made
                else:  # a signal handler has made another one
                    made.close()
            upstream = self._upstream
            with self.lock:
                channels = list(self.state.to_subscribe)
            if channels:
                upstream.subscribe(channels)
                with self.lock:
                    for channel in channels:  # last: if this call is interrupted, the next one subscribes
                        self.state.to_subscribe.pop(channel, None)
            self.admission.link(upstream)

    def _housekeep(self) -> None:
        next_tick = time.monotonic() + TICK_SECONDS
        while not (self.closed or self.inherited):  # gevent takes greenlets along into a child
            try:
                self.owners.take_back()
                self._read_due()
                self._admission_due()
                now = time.monotonic()
                if now >= next_tick:
                    next_tick = now + TICK_SECONDS
                    if not self._tick(now):
                        return
            except Exception:
                logger.exception("the housekeeping thread met an unexpected error and goes on")
            with self.lock:
                when = self.state.next_read_at()
            wake_at = next_tick if when is None else min(next_tick, when)
            self._housekeeping_waker.wait(max(0.0, wake_at - time.monotonic()))
        if not self.inherited:
            self.admission.work()  # gives back the last readers' leases

    def _read_due(self) -> None:
        while not self.closed:
            with self.lock:
                due = self.state.reads(time.monotonic())
            if not due:
                return
            if self._server_of is None:
                self._read(due)
            else:
                self._workers.run(self._server_of(due[0][0].channel), partial(self._read_apart, due))

    def _admission_due(self) -> None:
        """Carries out requests for leases and revocations, all of which one server answers."""
        if self._server_of is None:
            self.admission.work()
            return
        with self.lock:
            due = self.admission.state.request_due(time.monotonic()) and not self._admission_busy
            self._admission_busy = self._admission_busy or due
        if due:
            self._workers.run(CONTROL, self._admission_apart)

    def _admission_apart(self) -> None:
        try:
            self.admission.work()
        finally:
            self._admission_busy = False

    def _read_apart(self, due: list[Read]) -> None:
        try:
            if not (self.closed or self.inherited):
                self._read(due)
        finally:
            self.work()

    def _read(self, due: list[Read]) -> None:
        outcomes: Sequence[Page | SSEBridgeError]
        try:
            outcomes = self._backend.read([request for _, request in due])
        except SSEBridgeError as error:
            outcomes = [error] * len(due)
        except BaseException as error:
            with self.lock:
                self.state.failed([feed for feed, _ in due], time.monotonic(), error)
            raise
        with self.lock:
            trouble = self.state.settle(due, outcomes, time.monotonic())
        if trouble is not None:
            logger.warning("%s", trouble)
        self.flush()

    def _tick(self, now: float) -> bool:
        """Does the work of a tick; False: no feed is left, and the housekeeping thread may end."""
        with self.lock:
            sleepers = self.alarms.take_due(now)
            self.state.check_some(now)
            undone = bool(self.state.to_subscribe) or self.admission.unheard
        for reader in sleepers:
            reader.wake()
        self.admission.tick(now)
        if undone:
            self._subscribe()
        with self._upstream_lock:
            with self.lock:
                gone = self.state.unsubscribes(now)
                idle = not (self.state.feeds or self.admission.state.busy or self.owners)
                if idle:
                    self._housekeeping.retire()  # the next reader starts another
            if idle:
                self.admission.unlink(self._upstream)
                self._upstream = None
            elif gone and self._upstream is not None:
                self._upstream.unsubscribe(gone)
        return not idle
