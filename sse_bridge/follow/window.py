"""The recent entries of one channel that all readers of a process share.

A reader is a cursor into it, never a queue. Items have *serials*, absolute numbers that only grow: a cursor is one int,
and stays valid while older items are evicted. A restart (new epoch, a hole that could not be refilled) leaves a hole
in the serials, so that no cursor of before fits any more and each reader is judged by its own position. The hole is
wider than a window can grow downwards, or a reader that slept through the restart would fit into older entries that
were put in front since. For the same reason a window grows downwards only until it evicts: among what it forgot may be
ephemeral entries, which had serials too and do not come back.

Ephemeral entries stand in between, behind the entry that was the head when they arrived. Evicted entries leave their
check and visibility in the *trail*, with which a later gap can prove and count what was missed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from operator import attrgetter
from typing import Final

from ..events import END_TYPE, Entry
from .page import Point

TRAIL_LENGTH: Final = 4096  # about 64 bytes each: a quarter of a megabyte for a busy channel

LEAP: Final = 2**40  # serials that a restart leaves out: more entries than any process holds or evicts

_offset = attrgetter("offset")


class Window:
    """Consecutive entries up to the newest that this process knows.

    Attributes:
        base: the point before the first item.
        items: entries, stored and ephemeral, in the order of delivery.
        first_serial: the serial of ``items[0]``.
        end_serial: the serial that the next item will get.
        head: the point of the newest stored entry, or `base`.
        closed: the head is a stored end.
    """

    __slots__ = (
        "_bytes",
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
        self.items: list[Entry] = []
        self.first_serial = self.end_serial = 0
        self.closed = closed
        self._bytes = 0
        self._evicted = False  # since the last restart
        self._max_bytes = max_bytes
        self._trail: deque[tuple[bytes, str]] = deque(maxlen=TRAIL_LENGTH)

    def push(self, entry: Entry) -> None:
        """Adds the entry that follows the head; the caller has proven that it does."""
        self.items.append(entry)
        self.end_serial += 1
        self._bytes += entry.size
        if entry.stored:
            self.head = entry
            if entry.type == END_TYPE:
                self.closed = True
        if self._bytes > self._max_bytes + (self._max_bytes >> 2):  # a quarter over: evicting costs O(1) an entry
            self._evict()

    def extend_down(self, entries: list[Entry]) -> None:
        """Puts older entries in front if they lead up to the base without a hole and fit in."""
        if self._evicted or not entries or self.items[:1] == entries[:1]:
            return
        last = entries[-1]
        if (last.epoch, last.offset, last.check) != (self.base.epoch, self.base.offset, self.base.check):
            return
        kept: list[Entry] = []
        for entry in reversed(entries):
            if self._bytes + entry.size > self._max_bytes or (kept and entry.check != kept[-1].prev):
                break
            kept.append(entry)
            self._bytes += entry.size
        if kept:
            oldest = kept[-1]
            self.base = Point(oldest.epoch, oldest.offset - 1, oldest.prev)
            self.items[:0] = reversed(kept)
            self.first_serial -= len(kept)

    def restart(self, base: Point, closed: bool = False) -> None:
        """Forgets all items: what follows does not continue them."""
        self.first_serial = self.end_serial = self.end_serial + LEAP
        self.items = []
        self.base = self.head = base
        self.closed = closed
        self._bytes = 0
        self._evicted = False
        self._trail.clear()

    def restarted_since(self, serial: int) -> bool:
        """Whether a serial that was valid once is so no more because of a restart, and not of an eviction."""
        return self.first_serial - serial > LEAP // 2

    def locate(self, point: Point | Entry) -> int | None:
        """The serial of the first stored item after `point`, if the window proves that it continues it."""
        if point.epoch != self.base.epoch or not self.base.offset <= point.offset <= self.head.offset:
            return None
        if point.offset == self.head.offset:
            return self.end_serial if point.check == self.head.check else None
        index = bisect_right(self.items, point.offset, key=_offset)
        return self.first_serial + index if self.items[index].prev == point.check else None

    def missed(self, point: Point | Entry, upto: int) -> list[str] | None:
        """The visibilities of the entries behind `point` up to offset `upto`; None where they cannot be proven."""
        if point.epoch != self.base.epoch or not point.offset <= upto <= self.head.offset:
            return None
        found: list[str] = []
        proven = False
        if point.offset < self.base.offset:
            start = len(self._trail) - (self.base.offset - point.offset) - 1
            if start < 0 or self._trail[start][0] != point.check:
                return None
            proven = True
            stop = len(self._trail) - max(0, self.base.offset - upto)
            found.extend(self._trail[i][1] for i in range(start + 1, stop))
        elif self.locate(point) is not None:
            proven = True
        found.extend(e.visibility for e in self.items if e.stored and point.offset < e.offset <= upto)
        return found if proven else None

    def remembers(self, point: Point | Entry) -> bool | None:
        """Whether `point` is in the chain that led here; None when it is too long ago or too new to say."""
        if point.epoch != self.base.epoch or point.offset > self.head.offset:
            return None
        if point.offset >= self.base.offset:
            return self.locate(point) is not None
        index = len(self._trail) - (self.base.offset - point.offset) - 1
        return None if index < 0 else self._trail[index][0] == point.check

    def _evict(self) -> None:
        self._evicted = True
        count = 0
        for entry in self.items:
            if self._bytes <= self._max_bytes or count == len(self.items) - 1:
                break
            count += 1
            self._bytes -= entry.size
            if entry.stored:
                if not self._trail and self.base.offset == entry.offset - 1:
                    self._trail.append((self.base.check, ""))
                self._trail.append((entry.check, entry.visibility))
                self.base = entry
        del self.items[:count]
        self.first_serial += count
