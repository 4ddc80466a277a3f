"""The recent entries of one channel that all readers of a process share.

A reader is a cursor into it, never a queue. Items have *serials*, absolute numbers that only grow: a cursor is one int,
and stays valid while older items are evicted. A restart (new epoch, a hole that could not be refilled) leaves a hole
in the serials, so that no cursor of before fits any more and each reader is judged by its own position. The hole is
wider than a window can grow downwards, or a reader that slept through the restart would fit into older entries that
were put in front since. For the same reason a window grows downwards only until it evicts: among what it forgot may be
ephemeral entries, which had serials too and do not come back.

Ephemeral entries stand in between, behind the entry that was the head when they arrived. All but the newest item are
kept as records (`shelf`). Evicted entries leave their check and visibility in the *trail*, with which a later gap can prove
and count what was missed.
"""

from __future__ import annotations

from typing import Final

from ..events import END_TYPE, Entry
from .page import Point
from .shelf import Shelf, record_size
from .trail import Trail

LEAP: Final = 2**40  # serials that a restart leaves out: more entries than any process holds or evicts


class Window:
    """Consecutive entries up to the newest that this process knows.

    Attributes:
        base: the point before the first item.
        items: entries, stored and ephemeral, in the order of delivery.
        first_serial: the serial of the oldest item.
        end_serial: the serial that the next item will get.
        head: the point of the newest stored entry, or `base`.
        closed: the head is a stored end.
    """

    __slots__ = (
        "_bound",
        "_evicted",
        "_max_bytes",
        "_trail",
        "base",
        "closed",
        "end_serial",
        "first_serial",
        "head",
        "items",
    )

    def __init__(self, base: Point, max_bytes: int, closed: bool = False) -> None:
        self.base: Point | Entry = base
        self.head: Point | Entry = base
        self.items = Shelf(base.epoch, 0)
        self.first_serial = self.end_serial = 0
        self.closed = closed
        self._evicted = False  # since the last restart
        self._max_bytes = max_bytes
        self._bound = max_bytes + (max_bytes >> 2)  # a quarter over: evicting costs O(1) an entry
        self._trail = Trail(base.offset, base.check)

    def push(self, entry: Entry) -> None:
        """Adds the entry that follows the head; the caller has proven that it does."""
        self.items.append(entry)
        self.end_serial += 1
        if entry.stored:
            self.head = entry
            if entry.type == END_TYPE:
                self.closed = True
        if self.items.size > self._bound:
            self._evict()

    def extend_down(self, entries: list[Entry]) -> None:
        """Puts older entries in front if they lead up to the base without a hole and fit in."""
        if self._evicted or not entries:
            return
        last = entries[-1]
        if (last.epoch, last.offset, last.check) != (self.base.epoch, self.base.offset, self.base.check):
            return
        room = self._max_bytes - self.items.size
        kept: list[Entry] = []
        for entry in reversed(entries):
            room -= record_size(entry)
            if room < 0 or (kept and (entry.offset, entry.check) != (kept[-1].offset - 1, kept[-1].prev)):
                break
            kept.append(entry)
        if kept:
            oldest = kept[-1]
            self.base = Point(oldest.epoch, oldest.offset - 1, oldest.prev)
            self._trail = Trail(self.base.offset, self.base.check)
            self.items.put_below(kept[::-1])
            self.first_serial -= len(kept)

    def restart(self, base: Point, closed: bool = False) -> None:
        """Forgets all items: what follows does not continue them."""
        self.first_serial = self.end_serial = self.end_serial + LEAP
        self.items = Shelf(base.epoch, self.end_serial)
        self.base = self.head = base
        self.closed = closed
        self._evicted = False
        self._trail = Trail(base.offset, base.check)

    def restarted_since(self, serial: int) -> bool:
        """Whether a serial that was valid once is so no more because of a restart, and not of an eviction."""
        return self.first_serial - serial > LEAP // 2

    def locate(self, point: Point | Entry) -> int | None:
        """The serial of the first stored item after `point`, if the window proves that it continues it."""
        if point.epoch != self.base.epoch or not self.base.offset <= point.offset <= self.head.offset:
            return None
        if point.offset == self.head.offset:
            return self.end_serial if point.check == self.head.check else None
        serial, entry = self.items.behind(point.offset)
        return serial if entry.prev == point.check else None

    def point_at(self, offset: int) -> Point | Entry:
        """The point at `offset`, which lies between the base and the head."""
        if offset == self.base.offset:
            return self.base
        return self.items.behind(offset - 1)[1]

    def missed(self, point: Point | Entry, upto: int) -> list[str] | None:
        """The visibilities of the entries behind `point` up to offset `upto`; None where they cannot be proven."""
        if point.epoch != self.base.epoch or not point.offset <= upto <= self.head.offset:
            return None
        found: list[str] = []
        if point.offset < self.base.offset:
            if self._trail.check(point.offset) != point.check:
                return None
            found = self._trail.visibilities(point.offset, upto)
        elif self.locate(point) is None:
            return None
        return found + self.items.visibilities(point.offset, upto)

    def remembers(self, point: Point | Entry) -> bool | None:
        """Whether `point` is in the chain that led here; None when it is too long ago or too new to say."""
        if point.epoch != self.base.epoch or point.offset > self.head.offset:
            return None
        if point.offset >= self.base.offset:
            return self.locate(point) is not None
        check = self._trail.check(point.offset)
        return None if check is None else check == point.check

    def _evict(self) -> None:
        self._evicted = True
        items = self.items
        while items.size > self._max_bytes and len(items) > 1:
            checks, visibilities = items.drop()
            if visibilities:
                self._trail.add(checks, visibilities)
                self.base = Point(self.base.epoch, self._trail.end, checks.rpartition(b" ")[2])
        self.first_serial = items.first_serial
