"""The recent entries of one channel that all readers of a process share.

A reader is a cursor into the window, never a queue. Items have *serials*, absolute numbers that only grow: a cursor is
one int, and stays valid while older items are evicted. A restart (new epoch, a hole that could not be refilled) leaves a
hole in the serials, so that no earlier cursor fits and each reader is judged by its own position. The hole is wider than
a window can grow downwards; otherwise a reader that slept through the restart would fit into older entries prepended
since. For the same reason a window grows downwards only to the newest evicted ephemeral entry, which had a serial too.

Ephemeral entries stand behind the entry that was the head when they arrived. All but the newest item are kept as records
(`entry_store`). The checks and visibilities of evicted entries are kept (`evicted_checks`), with which a later gap can
prove and count the missed ones. A window evicts items beyond its own bound, and more when a process needs memory
(`give_way`): readers at the head go on even without an item.
"""

from __future__ import annotations

from typing import Final

from ..events import END_TYPE, Entry
from ..records.codec import record_of
from ..records.continuity import Point, before, follows, in_life, point_of
from .entry_store import RECORD_BYTES, EntryStore
from .evicted_checks import EvictedChecks

LEAP: Final = 2**40  # serials skipped by a restart: more than the entries that any process holds or evicts


class Window:
    """Consecutive entries up to the newest known to this process.

    Attributes:
        base: the point before the first item.
        items: entries, stored and ephemeral, in the order of delivery.
        first_serial: the serial of the oldest item.
        end_serial: the serial that the next item will get.
        head: the point of the newest stored entry, or `base`.
        closed: whether the head is a stored end.
        evicted: checks and visibilities of the evicted entries.
    """

    __slots__ = (
        "_bound",
        "_floor",
        "_max_bytes",
        "base",
        "closed",
        "end_serial",
        "evicted",
        "first_serial",
        "head",
        "items",
    )

    def __init__(self, base: Point, max_bytes: int, closed: bool = False) -> None:
        self.base = base
        self.head: Point | Entry = base
        self.items = EntryStore(base.epoch, 0)
        self.first_serial = self.end_serial = 0
        self.closed = closed
        self._floor = 0  # never grow below the offset of an ephemeral entry evicted since the last restart
        self._max_bytes = max_bytes
        self._bound = max_bytes + (max_bytes >> 2)  # a quarter over, so that eviction costs O(1) per entry
        self.evicted = EvictedChecks(base.offset, base.check)

    def push(self, entry: Entry) -> None:
        """Appends the entry that follows the head, which the caller has proven."""
        items = self.items
        items.append(entry)
        self.end_serial += 1
        if entry.stored:
            self.head = entry
            self.closed = entry.type == END_TYPE
        if items.size > self._bound:
            while items.size > self._max_bytes and len(items) > 1:
                self._evict()

    @property
    def size(self) -> int:
        """Roughly the bytes in memory that `give_way` can free."""
        return self.items.size + self.evicted.size

    @property
    def grows(self) -> bool:
        """Whether older entries may be prepended."""
        return self._floor < self.base.offset and self.items.size < self._max_bytes

    def extend_down(self, entries: list[Entry]) -> None:
        """Prepends older entries that lead up to the base without a hole, as far as they fit in."""
        if not entries or point_of(entries[-1]) != self.base:
            return
        room = self._max_bytes - self.items.size
        records: list[bytes] = []
        oldest: Entry | None = None
        for entry in reversed(entries):
            record = record_of(entry)
            room -= len(record) + RECORD_BYTES
            if room < 0 or entry.offset <= self._floor or not (oldest is None or follows(oldest, entry)):
                break
            records.append(record)
            oldest = entry
        if oldest is not None:
            self.base = before(oldest)
            if not self.evicted.back_to(self.base.offset):
                self.evicted = EvictedChecks(self.base.offset, self.base.check)
            self.items.put_below(oldest.offset, records[::-1])
            self.first_serial -= len(records)

    def restart(self, base: Point, closed: bool = False) -> None:
        """Forgets all items, which the next ones do not continue."""
        self.first_serial = self.end_serial = self.end_serial + LEAP
        self.items = EntryStore(base.epoch, self.end_serial)
        self.base = self.head = base
        self.closed = closed
        self._floor = 0
        self.evicted = EvictedChecks(base.offset, base.check)

    def begin(self, epoch: bytes) -> None:
        """Sets the epoch before a channel's first stored entry; ephemeral events so far belong to this epoch."""
        self.base = self.head = Point(epoch, self.head.offset, self.head.check)
        self.items.begin(epoch)

    def restarted_since(self, serial: int) -> bool:
        """Whether a restart, and not an eviction, made a serial invalid."""
        return self.first_serial - serial > LEAP // 2

    def locate(self, point: Point | Entry) -> int | None:
        """The serial of the first stored item after `point`, if its ``prev`` proves that it continues `point`."""
        if point.epoch != self.base.epoch or point.offset == 0:
            point = in_life(point, self.base.epoch)
        if point.epoch != self.base.epoch or not self.base.offset <= point.offset <= self.head.offset:
            return None
        if point.offset == self.head.offset:
            return self.end_serial if point.check == self.head.check else None
        serial, entry = self.items.first_after(point.offset)
        return serial if follows(entry, point) else None

    def point_at(self, offset: int) -> Point | Entry | None:
        """The point at `offset`, which is not beyond the head; None if that is too long ago."""
        if offset == self.base.offset:
            return self.base
        if offset < self.base.offset:
            check = self.evicted.check(offset)
            return None if check is None else Point(self.base.epoch, offset, check)
        return self.items.first_after(offset - 1)[1]

    def missed(self, point: Point | Entry, upto: int) -> list[str] | None:
        """The visibilities of the entries behind `point` up to offset `upto`; None if they cannot be proven."""
        point = in_life(point, self.base.epoch)
        if point.epoch != self.base.epoch or not point.offset <= upto <= self.head.offset:
            return None
        found: list[str] = []
        if point.offset < self.base.offset:
            if self.evicted.check(point.offset) != point.check:
                return None
            found = self.evicted.visibilities(point.offset, upto)
        elif self.locate(point) is None:
            return None
        return found + self.items.visibilities(point.offset, upto)

    def remembers(self, point: Point | Entry) -> bool | None:
        """Whether `point` is in the chain that led to the head; None if it is too long ago or too new to tell."""
        if point.epoch != self.base.epoch or point.offset > self.head.offset:
            return None
        if point.offset >= self.base.offset:
            return self.locate(point) is not None
        check = self.evicted.check(point.offset)
        return None if check is None else check == point.check

    def give_way(self, wanted: int, *, but_newest: bool = False) -> None:
        """Frees up to `wanted` bytes: the oldest entries first, then the evicted checks.

        Args:
            but_newest: keep the newest entry and the evicted checks.
        """
        target = self.size - wanted
        while self.size > target and len(self.items) > but_newest:
            self._evict()
        if self.size > target and not but_newest:
            self.evicted = EvictedChecks(self.base.offset, self.base.check)

    def _evict(self) -> None:
        """Evicts the oldest items, or the newest if there is no other."""
        before = self.first_serial
        checks, visibilities = self.items.drop()
        self.first_serial = self.items.first_serial
        if visibilities:
            self.evicted.add(checks, visibilities)
            self.base = Point(self.base.epoch, self.evicted.end, checks.rpartition(b" ")[2])
            if self.base.offset == self.head.offset:
                self.head = self.base  # a bare point, so that the evicted entry's data is freed
        if self.first_serial - before != len(visibilities):
            self._floor = self.base.offset
