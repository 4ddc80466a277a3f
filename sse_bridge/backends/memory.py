"""The embedded backend: logs in this process's memory. No server, and the logs end with the process.

One lock guards all logs and is held for microseconds only. Live messages go to each upstream's queue under that lock,
which gives them the log's order, and are handed on outside of it: to the event loop by one thread-safe call for many,
or on the publisher's own thread for readers on threads. A queue that grows too long, for the loop is busy, is dropped:
its channels are confirmed again, and read from their logs.

Bounded per channel (`replay_size`, `replay_seconds`) and over all channels (`memory_max_bytes`,
`memory_max_channels`): what was quiet the longest loses its log first. After fork the child begins with empty logs of
new epochs, since parent and child would otherwise give the same offsets to different events.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from ..config import Settings
from ..errors import ChannelClosed, PublishBlocked, SSEBridgeError
from ..events import GENESIS, Entry, new_token
from ..follow.page import Page, ReadRequest
from ..forks import after_fork
from ..locks import Lock
from ..records import Announcement
from .admission import CONTROL, ControlRequest
from .base import Append, Appended, Sink
from .memory_control import ControlTable
from .memory_upstream import MemoryUpstream

# Quiet channels looked at per append while there are too many: it makes room for one, and holds the lock for all.
LOOKS: Final = 64

_IDEMPOTENCY_SECONDS: Final = 300.0

Room = TypeVar("Room")  # what a publisher waits for, in its colour


class _Log:
    """One channel: its meta, its list, and who is subscribed."""

    __slots__ = ("check", "closed", "entries", "epoch", "holds", "keys", "size", "top", "touched", "upstreams")

    def __init__(self, epoch: bytes, now: float) -> None:
        self.epoch = epoch
        self.top = 0
        self.check = GENESIS
        self.closed = False
        self.entries: deque[Entry] = deque()
        self.size = 0
        self.touched = now
        self.keys: OrderedDict[str, tuple[float, int, bytes]] = OrderedDict()
        self.upstreams: set[MemoryUpstream] = set()
        self.holds: set[Hold] = set()

    def drop_entries(self) -> int:
        freed, self.size = self.size, 0
        self.entries.clear()
        return freed


class Hold:
    """Policy ``block``: a reader's promise to publishers that it is `capacity` entries behind at most.

    Attributes:
        offset: how far the reader has come; publishers wait while the log is `capacity` entries ahead.
    """

    __slots__ = ("_backend", "_log", "capacity", "offset")

    def __init__(self, backend: MemoryBackend, log: _Log, capacity: int) -> None:
        self._backend = backend
        self._log = log
        self.capacity = capacity
        self.offset = log.top

    def advance(self, offset: int) -> None:
        if offset != self.offset:
            self.offset = offset
            self._backend._room_made()

    def release(self) -> None:
        with self._backend._lock:  # a publisher may be looking at all of them
            self._log.holds.discard(self)
        self._backend._room_made()


class MemoryBackend:
    """See the module. Safe for any number of threads, loops and greenlets.

    Args:
        wall: seconds since 1970, for the time of entries.
        monotonic: seconds for expiry; both are arguments so that tests need not wait.
    """

    name = "memory"
    can_block = True
    can_control = True

    def __init__(
        self,
        settings: Settings,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._wall = wall
        self._monotonic = monotonic
        self._meta_seconds = max(86_400.0, 10 * settings.replay_seconds)
        self._begin()

    def _begin(self) -> None:
        self._lock = Lock()
        self._logs: OrderedDict[str, _Log] = OrderedDict()  # the channel that was quiet the longest comes first
        self._stored: OrderedDict[str, None] = OrderedDict()  # those of them that hold entries, in the same order
        self._size = 0
        self._control = ControlTable()
        # No Condition: a greenlet that is killed while it takes the lock again would give back what it has not got.
        self._room_threads: list[threading.Lock] = []  # held until there is room
        self._room_waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._pid = os.getpid()  # last: other threads of a child look at it first

    # both colours

    def append(self, batch: Append) -> Appended:
        self._check_pid()
        deadline = self._monotonic() + self._settings.block_timeout_seconds
        while True:
            outcome = self._attempt(batch, deadline, self._queue_thread)
            if isinstance(outcome, Appended):
                return outcome
            room, seconds = outcome
            try:
                room.acquire(timeout=seconds)
            finally:
                with self._lock:
                    self._room_threads = [waiter for waiter in self._room_threads if waiter is not room]

    def append_many(self, batches: Sequence[Append]) -> list[Appended | SSEBridgeError]:
        outcomes: list[Appended | SSEBridgeError] = []
        for batch in batches:
            try:
                outcomes.append(self.append(batch))
            except SSEBridgeError as error:
                outcomes.append(error)
        return outcomes

    async def aappend(self, batch: Append) -> Appended:
        self._check_pid()
        deadline = self._monotonic() + self._settings.block_timeout_seconds
        while True:
            outcome = self._attempt(batch, deadline, self._queue_task)
            if isinstance(outcome, Appended):
                return outcome
            room, seconds = outcome
            try:
                await asyncio.wait([room], timeout=seconds)
            finally:
                with self._lock:  # a reader that never comes on would gather all who gave up
                    self._room_waiters = [waiter for waiter in self._room_waiters if waiter[1] is not room]

    def read(self, requests: Sequence[ReadRequest]) -> list[Page]:
        self._check_pid()
        with self._lock:
            return [self._read(request) for request in requests]

    async def aread(self, requests: Sequence[ReadRequest]) -> list[Page]:
        return self.read(requests)

    def upstream(self, sink: Sink) -> MemoryUpstream:
        self._check_pid()
        return MemoryUpstream(self, sink, None)

    def aupstream(self, sink: Sink) -> MemoryUpstream:
        self._check_pid()
        return MemoryUpstream(self, sink, asyncio.get_running_loop())

    def control(self, request: ControlRequest) -> Any:
        self._check_pid()
        with self._lock:
            reply, messages = self._control.carry_out(request, self._monotonic())
            upstreams = list(self._log(CONTROL).upstreams) if messages else []
            for upstream in upstreams:
                for message in messages:
                    upstream.put(CONTROL, message, len(message))
        for upstream in upstreams:
            upstream.hand_on()
        return reply

    async def acontrol(self, request: ControlRequest) -> Any:
        return self.control(request)

    def close(self) -> None:
        self._begin()

    async def aclose(self) -> None:
        self._begin()

    def hold(self, channel: str, capacity: int) -> Hold:
        """Makes publishers to `channel` wait while this reader is `capacity` entries behind."""
        self._check_pid()
        with self._lock:
            log = self._log(channel)
            hold = Hold(self, log, capacity)
            log.holds.add(hold)
        return hold

    # under the lock

    def _append(self, batch: Append) -> tuple[Appended, list[MemoryUpstream]]:
        now = self._monotonic()
        log = self._log(batch.channel, batch.entries[0].check)
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
        if not batch.ephemeral:
            self._store(log, added, now)
            log.closed = batch.close
            self._logs.move_to_end(batch.channel)
            self._stored[batch.channel] = None
            self._stored.move_to_end(batch.channel)
            if batch.idempotency_key is not None:
                self._remember_key(log, batch.idempotency_key, now)
            self._make_room(batch.channel, now)
        announcement = Announcement(log.epoch, log.top, added)
        size = sum(entry.size for entry in added)
        for upstream in log.upstreams:
            upstream.put(batch.channel, announcement, size)
        return Appended(log.epoch, log.top, log.check), list(log.upstreams)

    def _store(self, log: _Log, added: list[Entry], now: float) -> None:
        log.entries.extend(added)
        grown = sum(entry.size for entry in added)
        while len(log.entries) > self._settings.replay_size:
            grown -= log.entries.popleft().size
        log.size += grown
        self._size += grown
        log.top, log.check, log.touched = added[-1].offset, added[-1].check, now

    def _remember_key(self, log: _Log, key: str, now: float) -> None:
        while log.keys and now - next(iter(log.keys.values()))[0] >= _IDEMPOTENCY_SECONDS:
            log.keys.popitem(last=False)
        log.keys[key] = (now, log.top, log.check)

    def _make_room(self, busy: str, now: float) -> None:
        """Drops what has expired among the quietest, and the quietest while a bound over all channels is exceeded."""
        for look, channel in enumerate(list(islice(self._logs, LOOKS))):
            over = len(self._logs) > self._settings.memory_max_channels
            if look >= 4 and not over:
                break
            log = self._logs[channel]
            if now - log.touched >= self._settings.replay_seconds:
                self._drop(channel, log)
            if log.upstreams or log.holds:
                if over:
                    self._logs.move_to_end(channel)  # it is in use; the next append shall not come upon it again
            elif channel != busy and (over or now - log.touched >= self._meta_seconds):
                self._drop(channel, log)
                del self._logs[channel]
        while self._size > self._settings.memory_max_bytes and (quietest := next(iter(self._stored))) != busy:
            self._drop(quietest, self._logs[quietest])
        while self._size > self._settings.memory_max_bytes and len(self._logs[busy].entries) > 1:
            oldest = self._logs[busy].entries.popleft()
            self._logs[busy].size -= oldest.size
            self._size -= oldest.size

    def _drop(self, channel: str, log: _Log) -> None:
        """The entries of a log; its meta stays."""
        if log.entries:
            self._size -= log.drop_entries()
            del self._stored[channel]

    def _read(self, request: ReadRequest) -> Page:
        log = self._log(request.channel)
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

    def _log(self, channel: str, epoch_candidate: bytes | None = None) -> _Log:
        log = self._logs.get(channel)
        if log is None:
            now = self._monotonic()
            log = self._logs[channel] = _Log(epoch_candidate or new_token(), now)
            self._make_room(channel, now)  # readers and ephemeral events make channels too
        return log

    def _must_wait(self, batch: Append) -> bool:
        if batch.ephemeral or batch.channel not in self._logs:
            return False
        log = self._logs[batch.channel]
        return not log.closed and any(log.top - hold.offset >= hold.capacity for hold in log.holds)

    def _blocked(self, batch: Append) -> PublishBlocked:
        return PublishBlocked(
            f"a reader of {batch.channel!r} with policy 'block' made no room within block_timeout_seconds="
            f"{self._settings.block_timeout_seconds}; nothing was published"
        )

    def _attempt(self, batch: Append, deadline: float, queue: Callable[[], Room]) -> Appended | tuple[Room, float]:
        """Appends and announces; where a reader has no room yet, what to wait for instead, and for how many seconds.

        Raises:
            PublishBlocked: the deadline has come.
        """
        with self._lock:
            if self._must_wait(batch):
                seconds = deadline - self._monotonic()
                if seconds <= 0:
                    raise self._blocked(batch)
                return queue(), seconds
            appended, upstreams = self._append(batch)
        for upstream in upstreams:
            upstream.hand_on()
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

    def _check_pid(self) -> None:
        if self._pid != os.getpid():
            after_fork(self, MemoryBackend._begin)


def _release(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)
