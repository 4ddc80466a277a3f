"""The entries of a window: the newest as an object, the older ones as records.

A full collection of CPython's visits every container object and stops the process meanwhile: 0.1 s with 150,000 entries.
The number of containers also brings collections on: of the young generation when more were made than freed, of all when
the survivors grew by a quarter. So only the newest entry is an object. The collector does not track bytes, and untracks
an exact tuple of bytes, such as `CHUNK` records, at its first visit: the flow of events neither triggers collections nor
prolongs them. Reading older entries, which is rare, makes new objects, equal to the old ones but for rendered bodies.

Entries have serials (see `window`) and follow one another without a hole, which the caller has proven: a stored entry
has the next offset, and the previous stored entry's check as `prev`; an ephemeral one repeats that offset and check.
Eviction takes the oldest chunk or, where there is none, the oldest entry.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeAlias

from ..events import ENTRY_BYTES, Entry
from ..records.codec import offset_of, record_of, restore, stored_heads

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


class EntryStore:
    """A window's entries by serial; see the module. Not safe for concurrent use.

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
