"""The recent entries of one channel that all readers of a process share.

A reader is a cursor into the window, never a queue. Items have *serials*, absolute numbers that only grow: a cursor is
one int, and stays valid while older items are evicted. A restart (new epoch, a hole that could not be refilled) leaves a
hole in the serials, so that no earlier cursor fits and each reader is judged by its own position. The hole is wider than
a window can grow downwards; otherwise a reader that slept through the restart would fit into older entries prepended
since. For the same reason a window grows downwards only to the newest evicted ephemeral entry, which had a serial too.

Ephemeral entries stand behind the entry that was the head when they arrived. The checks and visibilities of evicted
entries are kept (`evicted_checks`), with which a later gap can prove and count the missed ones. A window evicts items
beyond its own bound, and more when a process needs memory (`give_way`): readers at the head go on even without an item.

Only the newest entry is an object, the older ones are records. A full collection of CPython's visits every container
object and stops the process meanwhile: 0.1 s with 150,000 entries. The number of containers also brings collections on: of
the young generation when more were made than freed, of all when the survivors grew by a quarter. The collector does not
track bytes, and untracks an exact tuple of bytes, such as `CHUNK` records, at its first visit: the flow of events neither
triggers collections nor prolongs them. Reading older entries, which is rare, makes new objects, equal to the old ones but
for rendered bodies.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeAlias

from ..events import END_TYPE, ENTRY_BYTES, Entry
from ..records.codec import offset_of, record_of, restore, stored_heads
from ..records.continuity import Point, before, follows, in_life, point_of
from .evicted_checks import EvictedChecks

LEAP: Final = 2**40  # serials skipped by a restart: more than the entries that any process holds or evicts
KEPT: Final = 1  # entries kept as objects; each further one per window survives to the next collection
CHUNK: Final = 32  # records; more would spread a chunk's own 200 bytes further, and evict more at once
RECORD_BYTES: Final = 56  # of a record in memory besides its bytes, with its share of the chunk

# The first serial, the size in bytes, the first and last offsets, whether the chunk is dense (all stored, so an offset
# gives the index), and the records; flat, since the collector untracks a tuple only after the tuples inside.
Chunk: TypeAlias = tuple[Any, ...]

_SERIAL: Final = 0
_SIZE: Final = 1
_FIRST: Final = 2
_LAST: Final = 3
_DENSE: Final = 4
_RECORDS: Final = 5

_offset = attrgetter("offset")
_serial = itemgetter(_SERIAL)
_last = itemgetter(_LAST)


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
        if not point.offset <= upto <= self.head.offset or not self.remembers(point):
            return None
        return self.evicted.visibilities(point.offset, upto) + self.items.visibilities(point.offset, upto)

    def remembers(self, point: Point | Entry) -> bool | None:
        """Whether `point` is in the chain that led to the head; None if it is too long ago or too new to tell."""
        if point.epoch != self.base.epoch or point.offset > self.head.offset:
            return None
        known = self.point_at(point.offset)
        return None if known is None else known.check == point.check

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


class EntryStore:
    """A window's entries by serial: the newest as an object, the older ones as records. Not safe for concurrent use.

    They follow one another without a hole, which the caller has proven: a stored entry has the next offset, and the
    previous stored entry's check as `prev`; an ephemeral one repeats that offset and check. Eviction takes the oldest
    chunk or, where there is none, the oldest entry.

    Attributes:
        size: roughly the entries' bytes in memory.
        tail: the newest entries.
        tail_serial: the serial of ``tail[0]``.
    """

    __slots__ = ("_chunks", "_epoch", "_records", "size", "tail", "tail_serial")

    def __init__(self, epoch: bytes, serial: int) -> None:
        self._epoch = epoch
        self._chunks: list[Chunk] = []
        self._records: list[bytes] = []  # fewer than `CHUNK`, between the chunks and the tail
        self.size = 0
        self.tail: list[Entry] = []
        self.tail_serial = serial

    def begin(self, epoch: bytes) -> None:
        """Sets the epoch before its first stored entry; the ephemeral ones so far need none."""
        self._epoch = epoch

    @property
    def first_serial(self) -> int:
        serial: int = self._chunks[0][_SERIAL] if self._chunks else self.tail_serial - len(self._records)
        return serial

    def __len__(self) -> int:
        return self.tail_serial + len(self.tail) - self.first_serial

    def append(self, entry: Entry) -> None:
        """Adds the newest entry."""
        tail = self.tail
        tail.append(entry)
        if len(tail) <= KEPT:
            self.size += object_size(entry)
        else:
            records = self._records
            old = tail.pop(0)
            record = old.record or record_of(old)
            records.append(record)
            # `object_size` inlined: the calls cost as much as all the rest.
            self.size += 3 * (len(entry.data) - len(old.data)) + len(record) + RECORD_BYTES
            if len(records) == CHUNK:
                self._chunks.append(_chunk(self.tail_serial + 1 - CHUNK, offset_of(records[0]), old.offset, records))
                records.clear()
            self.tail_serial += 1

    def put_below(self, offset: int, records: Sequence[bytes]) -> None:
        """Prepends the records of older stored entries, oldest first, from `offset` on."""
        serial = self.first_serial - len(records)
        added: list[Chunk] = []
        for i in range(0, len(records), CHUNK):
            part = records[i : i + CHUNK]
            added.append(_chunk(serial + i, offset + i, offset + i + len(part) - 1, part))
        self._chunks[:0] = added
        self.size += sum([chunk[_SIZE] for chunk in added])

    def drop(self) -> tuple[bytes, str]:
        """Evicts the oldest chunk or entry; returns the stored entries' checks and visibilities, as `EvictedChecks.add`
        takes them."""
        if self._chunks:
            chunk = self._chunks.pop(0)
            self.size -= chunk[_SIZE]
            gone: Sequence[bytes] = chunk[_RECORDS:]
        elif self._records:
            gone = [self._records.pop(0)]
            self.size -= len(gone[0]) + RECORD_BYTES
        else:
            entry = self.tail.pop(0)
            self.tail_serial += 1
            self.size -= object_size(entry)
            gone = [record_of(entry)]
        stored = stored_heads(gone)
        return b" ".join([head[4] for head in stored]), b"".join([head[5][:1] for head in stored]).decode("ascii")

    def since(self, serial: int) -> Iterator[Entry]:
        """All entries from `serial` on, restored lazily; the store must not change meanwhile."""
        for index in range(max(0, bisect_right(self._chunks, serial, key=_serial) - 1), len(self._chunks)):
            chunk = self._chunks[index]
            for record in chunk[_RECORDS + max(0, serial - chunk[_SERIAL]) :]:
                yield restore(self._epoch, record)
        for record in self._records[max(0, serial - self.tail_serial + len(self._records)) :]:
            yield restore(self._epoch, record)
        yield from self.tail[max(0, serial - self.tail_serial) :]

    def first_after(self, offset: int) -> tuple[int, Entry]:
        """The first entry with a greater offset, which must exist, and its serial."""
        index = bisect_right(self._chunks, offset, key=_last)
        if index < len(self._chunks):
            chunk = self._chunks[index]
            place = max(0, offset + 1 - chunk[_FIRST]) if chunk[_DENSE] else _after(chunk[_RECORDS:], offset)
            return chunk[_SERIAL] + place, restore(self._epoch, chunk[_RECORDS + place])
        place = _after(self._records, offset)
        if place < len(self._records):
            return self.tail_serial - len(self._records) + place, restore(self._epoch, self._records[place])
        place = bisect_right(self.tail, offset, key=_offset)
        return self.tail_serial + place, self.tail[place]

    def visibilities(self, after: int, upto: int) -> list[str]:
        """The visibilities of stored entries with offsets behind `after` up to `upto`."""
        records: list[bytes] = []
        for index in range(bisect_right(self._chunks, after, key=_last), len(self._chunks)):
            chunk = self._chunks[index]
            if chunk[_FIRST] > upto:
                break
            records += chunk[_RECORDS:]
        heads = stored_heads([*records, *self._records])
        found = [head[5][:1].decode("ascii") for head in heads if after < int(head[1]) <= upto]
        tail = self.tail[bisect_right(self.tail, after, key=_offset) : bisect_right(self.tail, upto, key=_offset)]
        return found + [entry.visibility for entry in tail if entry.stored]


def object_size(entry: Entry) -> int:
    """Roughly an entry's bytes in memory as an object: its data, its record, and one rendered form."""
    return 3 * len(entry.data) + ENTRY_BYTES


def _chunk(serial: int, first: int, last: int, records: Sequence[bytes]) -> Chunk:
    dense = records[0].startswith(b"1") and last - first == len(records) - 1
    size = sum(map(len, records)) + RECORD_BYTES * len(records)
    return (serial, size, first, last, dense, *records)


def _after(records: Sequence[bytes], offset: int) -> int:
    """The index of the first record with a greater offset."""
    return bisect_right(records, offset, key=offset_of)
