"""The entries of a window: the newest as objects, the older ones packed.

A full collection of CPython's looks at every object that may hold others, and the process stands still meanwhile: 0.1 s
with 150,000 entries. Older entries are seldom asked for, so `CHUNK` of them at a time become one exact tuple of atoms.
The collector takes such a tuple off its list when it first sees it, and from then on what is kept costs it nothing, and
half of the memory. Who asks for packed entries gets new objects, equal to the old ones but for their rendered bodies.

Entries have serials (see `window`). They follow one another without a hole, which whoever adds them has proven: a stored
one has the next offset and the check of the stored one before it as `prev`; an ephemeral one repeats the offset, and has
that one's check. So neither is kept. What is oldest goes a chunk at a time, or entry by entry where nothing is packed.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, compress, repeat
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeAlias

from ..events import ENTRY_BYTES, Entry

KEPT: Final = 8  # entries that are never packed: what comes together is mostly taken together, right then
CHUNK: Final = 32  # the more, the less the 500 bytes of a chunk itself weigh, and the more entries wait as objects
PACKED_BYTES: Final = 90  # that a packed entry holds besides its data, its share of the chunk included

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

    __slots__ = ("_chunks", "_epoch", "size", "tail", "tail_serial")

    def __init__(self, epoch: bytes, serial: int) -> None:
        self._epoch = epoch
        self._chunks: list[Chunk] = []
        self.size = 0
        self.tail: list[Entry] = []
        self.tail_serial = serial

    @property
    def first_serial(self) -> int:
        serial: int = self._chunks[0][_SERIAL] if self._chunks else self.tail_serial
        return serial

    def __len__(self) -> int:
        return self.tail_serial + len(self.tail) - self.first_serial

    def append(self, entry: Entry) -> None:
        """Adds the newest entry."""
        tail = self.tail
        tail.append(entry)
        self.size += 2 * len(entry.data) + ENTRY_BYTES  # entry.size; asking for it costs as much as all the rest
        if len(tail) == KEPT + CHUNK:
            chunk = pack(self.tail_serial, tail[:CHUNK])
            self._chunks.append(chunk)
            del tail[:CHUNK]
            self.tail_serial += CHUNK
            data: int = chunk[_SIZE] - CHUNK * PACKED_BYTES
            self.size -= data + CHUNK * (ENTRY_BYTES - PACKED_BYTES)

    def put_below(self, entries: Sequence[Entry]) -> None:
        """Puts older entries, oldest first, below the oldest."""
        serial = self.first_serial - len(entries)
        added = [pack(serial + i, entries[i : i + CHUNK]) for i in range(0, len(entries), CHUNK)]
        self._chunks[:0] = added
        self.size += sum([chunk[_SIZE] for chunk in added])

    def drop(self) -> tuple[bytes, str]:
        """Forgets the oldest chunk or, where none is, the oldest entry; see `Trail.add` for what it returns.

        Only stored entries are in that; it may be empty.
        """
        if not self._chunks:
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
        yield from self.tail[max(0, serial - self.tail_serial) :]

    def behind(self, offset: int) -> tuple[int, Entry]:
        """The first entry with a greater offset, and its serial; there must be one."""
        index = bisect_right(self._chunks, offset, key=_last)
        if index < len(self._chunks):
            serial: int = self._chunks[index][_SERIAL]
            entries = unpack(self._epoch, self._chunks[index])
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
        tail = self.tail[bisect_right(self.tail, after, key=_offset) : bisect_right(self.tail, upto, key=_offset)]
        found.extend([entry.visibility for entry in tail if entry.stored])
        return found


def packed_size(entry: Entry) -> int:
    """Roughly the bytes that it holds in memory when it is packed."""
    return len(entry.data) + PACKED_BYTES


def pack(serial: int, entries: Sequence[Entry]) -> Chunk:
    """Entries, at least one, as a chunk that begins at `serial`."""
    count = len(entries)
    first, last = entries[0], entries[-1]
    all_stored = first.stored and last.offset - first.offset == count - 1
    datas = [e.data for e in entries]
    return (
        serial,
        sum(map(len, datas)) + PACKED_BYTES * count,
        first.offset,
        last.offset,
        first.prev,
        struct.pack(f"{count}q", *[e.time_ms for e in entries]),
        b" ".join([e.check for e in entries]),
        "".join([e.visibility for e in entries]),
        "".join([e.kind for e in entries]),
        b"" if all_stored else bytes([e.stored for e in entries]),
        *[e.type for e in entries],
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
