"""The embedded backend: logs in this process's memory. No server, and the logs end with the process.

One lock guards all logs and is held for microseconds only. An exception out of a signal handler may end a publish
between two of its lines (see runtime/locks.py): a log and its figures change in lines without a call, so the event is
stored or it is not, and readers search the log for an event that may be stored without an announcement.

Live messages go to each upstream's queue under that lock, which gives them the log's order, and are handed on outside of
it: to the event loop by one thread-safe call for many, or on the publisher's own thread for readers on threads. A queue
of a busy loop that grows too long is dropped: its channels are confirmed again, and read from their logs.

Bounded per channel (`replay_size`, `replay_seconds`) and over all channels (`memory_max_bytes`,
`memory_max_channels`): the channel that was quiet the longest loses its log first. After fork the child begins with
empty logs of new epochs, since parent and child would otherwise give the same offsets to different events.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

from ..admission.contract import CONTROL, ControlRequest
from ..config import Settings
from ..errors import ChannelClosed, PublishBlocked, SSEBridgeError
from ..events import GENESIS, NO_EPOCH, Entry
from ..records.codec import Announcement
from ..records.continuity import Page, ReadRequest
from ..runtime.forks import after_fork
from ..runtime.locks import held_already, new_lock
from .base import Append, Appended, Sink, SyncBackend
from .memory_control import ControlTable
from .memory_hold import Hold
from .memory_upstream import MemoryUpstream

# Quiet channels checked per append while there are too many: a few, since the lock is held meanwhile.
LOOKS: Final = 64
LOOK_SECONDS: Final = 0.2  # between two checks of a publisher that waits for a reader's room

_IDEMPOTENCY_SECONDS: Final = 300.0

Room = TypeVar("Room")  # a lock or a future on which a publisher waits


@dataclass(slots=True, eq=False)
class Log:
    """One channel's meta and list, made with the first entry."""

    epoch: bytes
    touched: float
    top: int = 0
    check: bytes = GENESIS
    closed: bool = False
    entries: deque[Entry] = field(default_factory=deque)
    size: int = 0
    keys: OrderedDict[str, tuple[float, int, bytes]] = field(default_factory=OrderedDict)


class MemoryBackend(SyncBackend):
    """See the module. Safe for any number of threads, loops and greenlets.

    Args:
        wall: seconds since 1970, for the time of entries.
        monotonic: seconds for expiry; both are arguments so that tests need not wait.
    """

    name = "memory"
    can_block = True
    can_control = True

    def __init__(
        self, settings: Settings, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._wall = wall
        self._monotonic = monotonic
        self._meta_seconds = max(86_400.0, 10 * settings.replay_seconds)
        self._begin()

    def _begin(self) -> None:
        self._lock = new_lock()
        self._clear()
        self._pid = os.getpid()  # last, since other threads of a child check it first

    def _clear(self) -> None:
        self._logs: OrderedDict[str, Log] = OrderedDict()  # the channel that was quiet for the longest is first
        self._stored: OrderedDict[str, None] = OrderedDict()  # the logs that hold entries, in the same order
        self._upstreams: dict[str, set[MemoryUpstream]] = {}  # subscribers by channel; a channel needs no log for that
        self.holds: dict[str, set[weakref.ref[Hold]]] = {}
        self._size = 0
        self._control = ControlTable()
        # No Condition: a greenlet killed while a Condition takes its lock again would release a lock that it has not.
        self._room_threads: list[threading.Lock] = []  # held until there is room
        self._room_waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    # both colours

    def append(self, batch: Append) -> Appended:
        self._check()
        deadline = self._monotonic() + self._settings.block_timeout_seconds
        while True:
            outcome = self._attempt(batch, deadline, self._queue_thread)
            if isinstance(outcome, Appended):
                return outcome
            room, seconds = outcome
            try:
                room.acquire(timeout=min(seconds, LOOK_SECONDS))  # an interrupted reader may wake nobody
            finally:
                with self._lock:
                    self._room_threads = [waiter for waiter in self._room_threads if waiter is not room]

    async def aappend(self, batch: Append) -> Appended:
        self._check()
        deadline = self._monotonic() + self._settings.block_timeout_seconds
        while True:
            outcome = self._attempt(batch, deadline, self._queue_task)
            if isinstance(outcome, Appended):
                return outcome
            room, seconds = outcome
            try:
                await asyncio.wait([room], timeout=seconds)
            finally:
                with self._lock:  # else a stuck reader would gather the futures of callers that gave up
                    self._room_waiters = [waiter for waiter in self._room_waiters if waiter[1] is not room]

    def read(self, requests: Sequence[ReadRequest]) -> list[Page | SSEBridgeError]:
        self._check()
        with self._lock:
            return [self._read(request) for request in requests]

    async def aread(self, requests: Sequence[ReadRequest]) -> list[Page | SSEBridgeError]:
        return self.read(requests)

    def upstream(self, sink: Sink) -> MemoryUpstream:
        if self._pid != os.getpid():
            after_fork(self, MemoryBackend._begin)
        return MemoryUpstream(self, sink, None)

    def aupstream(self, sink: Sink) -> MemoryUpstream:
        if self._pid != os.getpid():
            after_fork(self, MemoryBackend._begin)
        return MemoryUpstream(self, sink, asyncio.get_running_loop())

    def control(self, request: ControlRequest) -> Any:
        self._check()
        with self._lock:
            reply, messages = self._control.carry_out(request, self._monotonic())
            upstreams = list(self._upstreams.get(CONTROL, ())) if messages else []
            for upstream in upstreams:
                for message in messages:
                    upstream.put(CONTROL, message, len(message))
        for upstream in upstreams:
            upstream.hand_on()
        return reply

    async def acontrol(self, request: ControlRequest) -> Any:
        return self.control(request)

    def close(self) -> None:
        if self._pid != os.getpid():
            after_fork(self, MemoryBackend._begin)
        if not self._lock._is_owned():  # a signal handler must not clear logs under an interrupted call
            with self._lock:
                self._clear()

    async def aclose(self) -> None:
        self.close()

    def hold(self, channel: str, capacity: int) -> Hold:
        """Makes publishers to `channel` wait while this reader is `capacity` entries behind."""
        if self._pid != os.getpid():
            after_fork(self, MemoryBackend._begin)
        with self._lock:
            log = self._logs.get(channel)
            return Hold(self, channel, capacity, 0 if log is None else log.top)

    # under the lock

    def _append(self, batch: Append) -> tuple[Appended, list[MemoryUpstream]]:
        now = self._monotonic()
        log = self._logs.get(batch.channel)
        if log is None:
            # A log is kept only once an entry is stored.
            log = Log(NO_EPOCH if batch.ephemeral else batch.entries[0].check, now)
        if batch.idempotency_key is not None:
            known = log.keys.get(batch.idempotency_key)
            if known is not None and now - known[0] < _IDEMPOTENCY_SECONDS:
                return Appended(log.epoch, known[1], known[2], recognised=True), []
        if log.closed:
            raise ChannelClosed(f"channel {batch.channel!r} is closed at offset {log.top}; nothing can be appended")
        time_ms = int(self._wall() * 1000)
        added = []
        offset, prev = log.top, log.check
        for new in batch.entries:
            marks, _, type_ = new.head.decode("ascii").partition(" ")
            if batch.ephemeral:
                entry = Entry(log.epoch, offset, prev, new.check, time_ms, marks[0], marks[1], type_, new.data, False)
            else:
                offset += 1
                entry = Entry(log.epoch, offset, prev, new.check, time_ms, marks[0], marks[1], type_, new.data)
                prev = new.check
            added.append(entry)
        size = sum([entry.size for entry in added])
        if not batch.ephemeral:
            self._store(log, batch, added, size, now)
            self._logs.move_to_end(batch.channel)
            if log.entries:
                self._stored.move_to_end(batch.channel)
            self._make_room(batch.channel, now)
        announcement = Announcement(log.epoch, log.top, added)
        upstreams = list(self._upstreams.get(batch.channel, ()))
        for upstream in upstreams:
            upstream.put(batch.channel, announcement, size)
        return Appended(log.epoch, log.top, log.check), upstreams

    def _store(self, log: Log, batch: Append, added: list[Entry], size: int, now: float) -> None:
        while log.keys and now - next(iter(log.keys.values()))[0] >= _IDEMPOTENCY_SECONDS:
            log.keys.popitem(last=False)
        last, key = added[-1], batch.idempotency_key
        # No call from here,
        self._logs[batch.channel] = log
        log.entries += added
        log.size += size
        self._size += size
        log.top, log.check, log.touched, log.closed = last.offset, last.check, now, batch.close
        self._stored[batch.channel] = None
        if key is not None:
            log.keys[key] = (now, last.offset, last.check)
        # to here
        while len(log.entries) > self._settings.replay_size:
            self._drop_oldest(log)
        if not log.entries:  # `replay_size` is 0
            self._stored.pop(batch.channel, None)

    def _drop_oldest(self, log: Log) -> None:
        size = log.entries[0].size
        del log.entries[0]  # no call from here to the end
        log.size -= size
        self._size -= size

    def _make_room(self, busy: str, now: float) -> None:
        """Drops expired logs among the quietest, and the quietest while a bound over all channels is exceeded."""
        for look, channel in enumerate(list(islice(self._logs, LOOKS))):
            over = len(self._logs) > self._settings.memory_max_channels
            if look >= 4 and not over:
                break
            log = self._logs[channel]
            if now - log.touched >= self._settings.replay_seconds:
                self._drop(channel, log)
            if channel in self._upstreams or self.holds.get(channel):
                if over:
                    self._logs.move_to_end(channel)  # a log in use, which the next append must not find first
            elif channel != busy and (over or now - log.touched >= self._meta_seconds):
                self._drop(channel, log)
                del self._logs[channel]
        while self._size > self._settings.memory_max_bytes and (quietest := next(iter(self._stored))) != busy:
            self._drop(quietest, self._logs[quietest])
        while self._size > self._settings.memory_max_bytes and len(self._logs[busy].entries) > 1:
            self._drop_oldest(self._logs[busy])

    def _drop(self, channel: str, log: Log) -> None:
        """Drops the entries of a log, not its meta."""
        none: deque[Entry] = deque()
        if channel in self._stored:  # no call from here to the end
            self._size -= log.size
            log.entries, log.size = none, 0
            del self._stored[channel]

    def _read(self, request: ReadRequest) -> Page:
        log = self._logs.get(request.channel)
        if log is None:
            return Page(NO_EPOCH, 0, GENESIS, False, 1, 1, [], False)
        if log.entries and self._monotonic() - log.touched >= self._settings.replay_seconds:
            self._drop(request.channel, log)
        first = log.entries[0].offset if log.entries else log.top + 1
        if request.limit == 0:
            return Page(log.epoch, log.top, log.check, log.closed, first, log.top + 1, [], False)
        wanted = request.offset + 1
        if request.offset < 0:
            wanted = log.top + request.offset + 1
        elif request.epoch is not None and request.epoch != log.epoch:
            wanted = 1
        start = max(first, wanted)
        found: list[Entry] = []
        size = 0
        index = start - first
        while index < len(log.entries) and len(found) < request.limit and (size < request.max_bytes or not found):
            entry = log.entries[index]
            found.append(entry)
            size += len(entry.data)
            index += 1
        more = index < len(log.entries)
        return Page(log.epoch, log.top, log.check, log.closed, first, start, found, more)

    def _must_wait(self, batch: Append) -> bool:
        log = self._logs.get(batch.channel)
        if batch.ephemeral or log is None or log.closed:
            return False
        holds = [key() for key in list(self.holds.get(batch.channel, ()))]
        return any(hold is not None and log.top - hold.offset >= hold.capacity for hold in holds)

    def _attempt(self, batch: Append, deadline: float, queue: Callable[[], Room]) -> Appended | tuple[Room, float]:
        """Appends and announces; or returns a reader's room to wait on, and for how long; `PublishBlocked` at the deadline."""
        try:
            with self._lock:
                if self.holds and self._must_wait(batch):
                    seconds = deadline - self._monotonic()
                    if seconds <= 0:
                        raise PublishBlocked(
                            f"a reader of {batch.channel!r} with policy 'block' made no room within block_timeout_seconds="
                            f"{self._settings.block_timeout_seconds}; nothing was published"
                        )
                    return queue(), seconds
                appended, upstreams = self._append(batch)
            for upstream in upstreams:
                upstream.hand_on()
        except SSEBridgeError:
            raise
        except BaseException:  # perhaps behind the append and before its announcement
            with self._lock:
                upstreams = list(self._upstreams.get(batch.channel, ()))
            for upstream in upstreams:
                upstream.confirm_again((batch.channel,))
            raise
        return appended

    def _queue_thread(self) -> threading.Lock:
        room = threading.Lock()
        room.acquire()
        self._room_threads.append(room)
        return room

    def _queue_task(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        room: asyncio.Future[None] = loop.create_future()
        self._room_waiters.append((loop, room))
        return room

    def _room_made(self) -> None:
        with self._lock:
            threads, self._room_threads = self._room_threads, []
            waiters, self._room_waiters = self._room_waiters, []
        for thread in threads:
            thread.release()
        for loop, room in waiters:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_release, room)

    def _check(self) -> None:
        """Begins anew in a forked child; raises `RuntimeError` if this thread is in the middle of another call."""
        if self._pid != os.getpid():
            after_fork(self, MemoryBackend._begin)
        if self._lock._is_owned():
            raise held_already()


def _release(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)
