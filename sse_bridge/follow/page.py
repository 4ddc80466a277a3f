"""A page of a channel's log, and the judgement whether it continues a reader's position.

This is the one place that decides between "goes on" and "gap". The rules (docs/architecture.md, "Gaps"):

- An entry continues a position only if its offset is the next one *and* its ``prev`` is the position's check. So a
  history that a failover threw away is noticed even where the offsets fit.
- What cannot be proven is a gap with a reason, and the gap says where the reader goes on.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from ..events import Entry

_offset = attrgetter("offset")


@dataclass(frozen=True, slots=True)
class Point:
    """A position without its channel: what a cursor remembers."""

    epoch: bytes
    offset: int
    check: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What one read of the log returned.

    Attributes:
        epoch: the log's current epoch.
        top: the highest offset ever given in this epoch; 0 when nothing was appended yet.
        top_check: the check of the entry at `top`; `GENESIS` at 0.
        closed: the end is stored (it is the entry at `top`).
        first: the lowest offset still retained; ``top + 1`` when no entry is.
        start: the offset from which the page tells everything: ``max(first, wanted)``; ``top + 1`` for the head alone.
        entries: entries by rising offset from `start`; a foreign record leaves a hole.
        more: the log holds records beyond this page.
    """

    epoch: bytes
    top: int
    top_check: bytes
    closed: bool
    first: int
    start: int
    entries: list[Entry]
    more: bool

    @property
    def head(self) -> Point:
        return Point(self.epoch, self.top, self.top_check)


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Which part of a channel's log is wanted.

    Attributes:
        channel: its name.
        epoch: read after `offset` if the log still has this epoch, else from the oldest entry; None: any epoch.
        offset: entries after this offset; 0 is the oldest retained; a negative one means the last ``-offset``.
        limit: at most so many entries; 0 reads the head alone.
        max_bytes: stop when the entries exceed this (at least one is returned).
    """

    channel: str
    epoch: bytes | None = None
    offset: int = 0
    limit: int = 256  # so that one page neither blocks the broker (~0.2 ms) nor holds more than a megabyte
    max_bytes: int = 1_048_576


TRIMMED: Final = "trimmed"
SLOW: Final = "slow"
EPOCH: Final = "epoch"
DIVERGED: Final = "diverged"
EXPIRED: Final = "expired"
INVALID: Final = "invalid"


@dataclass(frozen=True, slots=True)
class Gap:
    """Continuity could not be proven: why, how many log entries were missed (None: unknown), and where it goes on."""

    reason: str
    missed: int | None
    after: Point


@dataclass(frozen=True, slots=True)
class Verdict:
    """A page continues a position, perhaps behind a gap, with ``page.entries[index:]``."""

    gap: Gap | None
    index: int


def judge(point: Point | Entry, page: Page) -> Verdict | None:
    """Decides how `page` carries on from `point`; None when this page cannot tell (read one from `point`)."""
    entries = page.entries
    if point.epoch != page.epoch:
        return Verdict(Gap(EPOCH, None, before(page)), 0) if page.start <= page.first else None
    if point.offset == page.top and point.check == page.top_check:
        return Verdict(None, len(entries))
    if point.offset >= page.top:
        return Verdict(Gap(DIVERGED, None, page.head), len(entries))
    wanted = point.offset + 1
    if page.first > page.top:
        return Verdict(Gap(EXPIRED, None, page.head), 0)
    if wanted < page.first and page.start <= page.first:
        return Verdict(Gap(TRIMMED, None, before(page)), 0)
    if wanted < page.start:
        return None
    index = bisect_left(entries, wanted, key=_offset)
    if index == len(entries):
        if page.more and page.start < wanted:
            return None
        return Verdict(Gap(DIVERGED, None, page.head), index)  # foreign records, as far as a page goes
    found = entries[index]
    if found.offset == wanted and found.prev == point.check:
        return Verdict(None, index)
    return Verdict(Gap(DIVERGED, None, Point(found.epoch, found.offset - 1, found.prev)), index)


def before(page: Page) -> Point:
    """The point right before the page's first entry, or the head if it has none."""
    if not page.entries:
        return page.head
    first = page.entries[0]
    return Point(first.epoch, first.offset - 1, first.prev)
