"""The entries of a window: the newest as an object, the older ones as the records that they came as.

A full collection of CPython's looks at every object that may hold others, and the process stands still meanwhile: 0.1 s
with 150,000 entries. What it sees is not only what it costs, but also when it comes: the youngest are collected when so
many more were made than freed, and everything as soon as a quarter more has survived. So an entry is an object only while
it is the newest. Bytes are nothing to the collector, and an exact tuple of bytes, into which `CHUNK` of them go, leaves its
list when it is first seen there: events that flow neither bring collections on nor make them longer. Older entries are
seldom asked for. Who does gets new objects, equal to the old ones but for their rendered bodies.

Entries have serials (see `window`). They follow one another without a hole, which whoever adds them has proven: a stored
one has the next offset and the check of the stored one before it as `prev`; an ephemeral one repeats the offset, and has
that one's check. What is oldest goes a chunk at a time, or entry by entry where there is none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeAlias

from ..events import ENTRY_BYTES, Entry
from ..records import head_fields, record_of, restore

KEPT: Final = 1  # entries that stay objects: with more, more of all windows' live until a collection, and count
CHUNK: Final = 32  # the more, the less the 200 bytes of a chunk itself weigh, and the more is evicted at once
RECORD_BYTES: Final = 56  # that a record holds besides its bytes, its share of the chunk included

# The first serial, the bytes held, the first and the last offset, whether it is dense (all are stored, so an offset says
# which is where), and then the records: flat, since an inner tuple would have to leave the collector's list first.
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


class Shelf:
    """See the module. Not safe for concurrent use.

    Attributes:
        size: the bytes that the entries hold in memory, roughly.
        tail: the newest entries.
        tail_serial: the serial of ``tail[0]``.
    """

    __slots__ = ("_chunks", "_epoch", "_records", "size", "tail", "tail_serial")

    def __init__(self, epoch: bytes, serial: int) -> None:
        self._epoch = epoch
        self._chunks: list[Chunk] = []
        self._records: list[bytes] = []  # between the chunks and the tail
        self.size = 0
        self.tail: list[Entry] = []
        self.tail_serial = serial

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
        self.size += 2 * len(entry.data) + ENTRY_BYTES  # entry.size; asking for it costs as much as all the rest
        if len(tail) > KEPT:
            records = self._records
            old = tail.pop(0)
            record = record_of(old)
            records.append(record)
            self.size += len(record) + RECORD_BYTES - 2 * len(old.data) - ENTRY_BYTES
            if len(records) == CHUNK:
                self._chunks.append(_chunk(self.tail_serial + 1 - CHUNK, records))
                records.clear()
            self.tail_serial += 1

    def put_below(self, entries: Sequence[Entry]) -> None:
        """Puts older entries, oldest first, below the oldest."""
        serial = self.first_serial - len(entries)
        records = list(map(record_of, entries))
        added = [_chunk(serial + i, records[i : i + CHUNK]) for i in range(0, len(records), CHUNK)]
        self._chunks[:0] = added
        self.size += sum([chunk[_SIZE] for chunk in added])

    def drop(self) -> tuple[bytes, str]:
        """Forgets the oldest chunk or, where none is, the oldest entry; see `Trail.add` for what it returns.

        Only stored entries are in that; it may be empty.
        """
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
            self.size -= entry.size
            gone = [record_of(entry)]
        stored = [head for head in map(head_fields, gone) if head[0] == b"1"]
        return b" ".join([head[4] for head in stored]), b"".join([head[5][:1] for head in stored]).decode("ascii")

    def since(self, serial: int) -> Iterator[Entry]:
        """All entries from `serial` on, restored as they are asked for; the shelf must not change meanwhile."""
        for index in range(max(0, bisect_right(self._chunks, serial, key=_serial) - 1), len(self._chunks)):
            chunk = self._chunks[index]
            for record in chunk[_RECORDS + max(0, serial - chunk[_SERIAL]) :]:
                yield restore(self._epoch, record)
        for record in self._records[max(0, serial - self.tail_serial + len(self._records)) :]:
            yield restore(self._epoch, record)
        yield from self.tail[max(0, serial - self.tail_serial) :]

    def behind(self, offset: int) -> tuple[int, Entry]:
        """The first entry with a greater offset, and its serial; there must be one."""
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
        """Those of the stored entries with offsets behind `after` up to `upto`."""
        records: list[bytes] = []
        for index in range(bisect_right(self._chunks, after, key=_last), len(self._chunks)):
            chunk = self._chunks[index]
            if chunk[_FIRST] > upto:
                break
            records += chunk[_RECORDS:]
        heads = [head for head in map(head_fields, [*records, *self._records]) if head[0] == b"1"]
        found = [head[5][:1].decode("ascii") for head in heads if after < int(head[1]) <= upto]
        tail = self.tail[bisect_right(self.tail, after, key=_offset) : bisect_right(self.tail, upto, key=_offset)]
        return found + [entry.visibility for entry in tail if entry.stored]


def record_size(entry: Entry) -> int:
    """Roughly the bytes that it holds in memory as a record."""
    return len(record_of(entry)) + RECORD_BYTES


def _chunk(serial: int, records: Sequence[bytes]) -> Chunk:
    first, last = _offset_of(records[0]), _offset_of(records[-1])
    dense = records[0].startswith(b"1") and last - first == len(records) - 1
    size = sum(map(len, records)) + RECORD_BYTES * len(records)
    return (serial, size, first, last, dense, *records)


def _after(records: Sequence[bytes], offset: int) -> int:
    """The place of the first record with a greater offset."""
    return bisect_right(records, offset, key=_offset_of)


def _offset_of(record: bytes) -> int:
    return int(head_fields(record)[1])
