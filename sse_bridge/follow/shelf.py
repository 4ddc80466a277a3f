"""The entries of a window: the newest as objects, the older ones as tuples of atoms, and those packed by the chunk.

A full collection of CPython's looks at every object that may hold others, and the process stands still meanwhile: 0.1 s
with 150,000 entries. What it sees is not only what it costs, but also when it comes: as soon as a quarter more has
survived. So an entry is an object only while it is new, for an exact tuple of atoms leaves the collector's list when it
is first seen there, and neither counts nor costs anything from then on. Older entries are seldom asked for, and so
`CHUNK` of them at a time become one such tuple, in half of the memory. Who asks for them gets new objects, equal to the
old ones but for their rendered bodies.

Entries have serials (see `window`). They follow one another without a hole, which whoever adds them has proven: a stored
one has the next offset and the check of the stored one before it as `prev`; an ephemeral one repeats the offset, and has
that one's check. So a chunk keeps neither. What is oldest goes a chunk at a time, or entry by entry where none is packed.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, compress, repeat
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeAlias

from ..events import ENTRY_BYTES, Entry

KEPT: Final = 2  # entries that stay objects: with more, more of all windows' live until a collection
CHUNK: Final = 32  # the more, the less the 500 bytes of a chunk itself weigh, and the more entries wait as tuples
ROW_BYTES: Final = 250  # that an entry holds besides its data as a tuple
PACKED_BYTES: Final = 90  # that a packed entry holds besides its data, its share of the chunk included

# An entry's fields but for the epoch, in the order in which `Entry` takes them.
Row: TypeAlias = tuple[Any, ...]

# The first serial, the bytes held, the first and the last offset, the first prev; for all entries the times, the checks
# (with spaces between, a check has none), visibilities, kinds, and whether stored (empty: all are); then each one's type
# and each one's data, flat, since an inner tuple would have to leave the collector's list first.
Chunk: TypeAlias = tuple[Any, ...]

_SERIAL: Final = 0
_SIZE: Final = 1
_FIRST: Final = 2
_LAST: Final = 3
_PREV: Final = 4
_TIMES: Final = 5
_CHECKS: Final = 6
_VISIBILITIES: Final = 7
_KINDS: Final = 8
_STORED: Final = 9
_FIELDS: Final = 10

_ROW_OFFSET: Final = 0
_ROW_VISIBILITY: Final = 4
_ROW_STORED: Final = 8

_row = attrgetter("offset", "prev", "check", "time_ms", "visibility", "kind", "type", "data", "stored")
_offset = attrgetter("offset")
_row_offset = itemgetter(_ROW_OFFSET)
_serial = itemgetter(_SERIAL)
_last = itemgetter(_LAST)


class Shelf:
    """See the module. Not safe for concurrent use.

    Attributes:
        size: the bytes that the entries hold in memory, roughly.
        tail: the newest entries.
        tail_serial: the serial of ``tail[0]``.
    """

    __slots__ = ("_chunks", "_epoch", "_rows", "size", "tail", "tail_serial")

    def __init__(self, epoch: bytes, serial: int) -> None:
        self._epoch = epoch
        self._chunks: list[Chunk] = []
        self._rows: list[Row] = []  # between the chunks and the tail
        self.size = 0
        self.tail: list[Entry] = []
        self.tail_serial = serial

    @property
    def first_serial(self) -> int:
        serial: int = self._chunks[0][_SERIAL] if self._chunks else self.tail_serial - len(self._rows)
        return serial

    def __len__(self) -> int:
        return self.tail_serial + len(self.tail) - self.first_serial

    def append(self, entry: Entry) -> None:
        """Adds the newest entry."""
        tail = self.tail
        tail.append(entry)
        self.size += 2 * len(entry.data) + ENTRY_BYTES  # entry.size; asking for it costs as much as all the rest
        if len(tail) > KEPT:
            rows = self._rows
            old = tail.pop(0)
            rows.append(_row(old))
            self.size -= len(old.data) + ENTRY_BYTES - ROW_BYTES
            if len(rows) == CHUNK:
                self._chunks.append(pack(self.tail_serial + 1 - CHUNK, rows))
                rows.clear()
                self.size -= CHUNK * (ROW_BYTES - PACKED_BYTES)
            self.tail_serial += 1

    def put_below(self, entries: Sequence[Entry]) -> None:
        """Puts older entries, oldest first, below the oldest."""
        serial = self.first_serial - len(entries)
        rows = list(map(_row, entries))
        added = [pack(serial + i, rows[i : i + CHUNK]) for i in range(0, len(rows), CHUNK)]
        self._chunks[:0] = added
        self.size += sum([chunk[_SIZE] for chunk in added])

    def drop(self) -> tuple[bytes, str]:
        """Forgets the oldest chunk or, where none is, the oldest entry; see `Trail.add` for what it returns.

        Only stored entries are in that; it may be empty.
        """
        if not self._chunks:
            if self._rows:
                entry = Entry(self._epoch, *self._rows.pop(0))
                self.size -= len(entry.data) + ROW_BYTES
            else:
                entry = self.tail.pop(0)
                self.tail_serial += 1
                self.size -= entry.size
            return (entry.check, entry.visibility) if entry.stored else (b"", "")
        chunk = self._chunks.pop(0)
        self.size -= chunk[_SIZE]
        if not chunk[_STORED]:
            return chunk[_CHECKS], chunk[_VISIBILITIES]
        checks = compress(chunk[_CHECKS].split(b" "), chunk[_STORED])
        return b" ".join(checks), "".join(compress(chunk[_VISIBILITIES], chunk[_STORED]))

    def since(self, serial: int) -> Iterator[Entry]:
        """All entries from `serial` on, unpacked as they are asked for; the shelf must not change meanwhile."""
        for index in range(max(0, bisect_right(self._chunks, serial, key=_serial) - 1), len(self._chunks)):
            chunk = self._chunks[index]
            yield from unpack(self._epoch, chunk)[max(0, serial - chunk[_SERIAL]) :]
        for row in self._rows[max(0, serial - self.tail_serial + len(self._rows)) :]:
            yield Entry(self._epoch, *row)
        yield from self.tail[max(0, serial - self.tail_serial) :]

    def behind(self, offset: int) -> tuple[int, Entry]:
        """The first entry with a greater offset, and its serial; there must be one."""
        index = bisect_right(self._chunks, offset, key=_last)
        if index < len(self._chunks):
            serial: int = self._chunks[index][_SERIAL]
            entries = unpack(self._epoch, self._chunks[index])
        elif self._rows and self._rows[-1][_ROW_OFFSET] > offset:
            index = bisect_right(self._rows, offset, key=_row_offset)
            return self.tail_serial - len(self._rows) + index, Entry(self._epoch, *self._rows[index])
        else:
            serial, entries = self.tail_serial, self.tail
        index = bisect_right(entries, offset, key=_offset)
        return serial + index, entries[index]

    def continues(self, offset: int) -> tuple[int, bytes]:
        """The serial of what `behind` finds, and its `prev`; without unpacking where all are stored."""
        index = bisect_right(self._chunks, offset, key=_last)
        if index < len(self._chunks) and not self._chunks[index][_STORED]:
            chunk = self._chunks[index]
            place = max(0, offset + 1 - chunk[_FIRST])
            return chunk[_SERIAL] + place, chunk[_CHECKS].split(b" ")[place - 1] if place else chunk[_PREV]
        serial, entry = self.behind(offset)
        return serial, entry.prev

    def visibilities(self, after: int, upto: int) -> list[str]:
        """Those of the stored entries with offsets behind `after` up to `upto`."""
        found: list[str] = []
        for index in range(bisect_right(self._chunks, after, key=_last), len(self._chunks)):
            chunk = self._chunks[index]
            if chunk[_FIRST] > upto:
                break
            rows = zip(_offsets(chunk), chunk[_VISIBILITIES], chunk[_STORED] or repeat(True), strict=False)
            found.extend([visibility for offset, visibility, stored in rows if stored and after < offset <= upto])
        kept = [row for row in self._rows if row[_ROW_STORED] and after < row[_ROW_OFFSET] <= upto]
        found.extend([row[_ROW_VISIBILITY] for row in kept])
        tail = self.tail[bisect_right(self.tail, after, key=_offset) : bisect_right(self.tail, upto, key=_offset)]
        found.extend([entry.visibility for entry in tail if entry.stored])
        return found


def packed_size(entry: Entry) -> int:
    """Roughly the bytes that it holds in memory when it is packed."""
    return len(entry.data) + PACKED_BYTES


def pack(serial: int, rows: Sequence[Row]) -> Chunk:
    """Entries, at least one, as a chunk that begins at `serial`."""
    count = len(rows)
    offsets, prevs, checks, times, visibilities, kinds, types, datas, stored = zip(*rows, strict=True)
    all_stored = stored[0] and offsets[-1] - offsets[0] == count - 1
    return (
        serial,
        sum(map(len, datas)) + PACKED_BYTES * count,
        offsets[0],
        offsets[-1],
        prevs[0],
        struct.pack(f"{count}q", *times),
        b" ".join(checks),
        "".join(visibilities),
        "".join(kinds),
        b"" if all_stored else bytes(stored),
        *types,
        *datas,
    )


def unpack(epoch: bytes, chunk: Chunk) -> list[Entry]:
    """The entries of a chunk; `epoch` is theirs."""
    count = len(chunk[_KINDS])
    checks = chunk[_CHECKS].split(b" ")
    prevs = [chunk[_PREV], *checks]
    stored: Iterable[bool] = repeat(True)
    if chunk[_STORED]:
        stored = map(bool, chunk[_STORED])
        for index, is_stored in enumerate(chunk[_STORED]):
            if not is_stored:
                prevs[index + 1] = prevs[index]
    return list(
        map(
            Entry, repeat(epoch), _offsets(chunk), prevs, checks, struct.unpack(f"{count}q", chunk[_TIMES]),
            chunk[_VISIBILITIES], chunk[_KINDS], chunk[_FIELDS : _FIELDS + count], chunk[_FIELDS + count :], stored,
        )
    )  # fmt: skip


def _offsets(chunk: Chunk) -> Sequence[int]:
    if not chunk[_STORED]:
        return range(chunk[_FIRST], chunk[_LAST] + 1)
    return list(accumulate(chunk[_STORED][1:], initial=chunk[_FIRST]))  # each stored one counts as 1
