"""Pages of a channel's log, and the judgement whether a page continues a reader's position.

`judge` decides between continuation and gap by these rules (docs/architecture.md, "Gaps"):

- An entry continues a position only if its offset is the next one *and* its ``prev`` is the position's check, so a
  history lost by a failover is noticed even where the offsets fit. `follows` says so, and nothing else compares them.
- Continuity that cannot be proven is a gap, with a reason and the point behind which the reader goes on.
- An end is judged as well, for the broker may lose that entry like any other.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, NamedTuple

from ..events import GENESIS, NO_EPOCH, Entry

_offset = attrgetter("offset")


class Point(NamedTuple):
    """A position without its channel, as cursors keep it."""

    epoch: bytes
    offset: int
    check: bytes


def point_of(at: Point | Entry) -> Point:
    """`at` as a bare point, so that an entry's data is not kept in memory for its position."""
    return at if type(at) is Point else Point(at.epoch, at.offset, at.check)


@dataclass(frozen=True, slots=True)
class Page:
    """The result of one read of the log.

    Attributes:
        epoch: the log's current epoch; `NO_EPOCH` while the log has no entry.
        top: the highest offset ever given in this epoch; 0 when nothing was appended yet.
        top_check: the check of the entry at `top`; `GENESIS` at 0.
        closed: the end is stored (it is the entry at `top`).
        first: the lowest offset still retained; ``top + 1`` when no entry is.
        start: the offset from which the page is complete: ``max(first, wanted)``; ``top + 1`` for the head alone.
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


PAGE_BYTES: Final = 1_048_576  # of records, the most that one read returns to share among readers and windows


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A read of a part of a channel's log.

    Attributes:
        channel: the channel's name.
        epoch: read after `offset` if the log still has this epoch, else from the oldest entry; None: any epoch.
        offset: entries after this offset; 0 is the oldest retained; a negative one means the last ``-offset``.
        limit: at most so many entries; 0 reads the head alone.
        max_bytes: stop when the entries exceed this (at least one is returned).
    """

    channel: str
    epoch: bytes | None = None
    offset: int = 0
    limit: int = 256  # so that one page neither blocks the broker (~0.2 ms) nor holds more than a megabyte
    max_bytes: int = PAGE_BYTES


TRIMMED: Final = "trimmed"
SLOW: Final = "slow"
EPOCH: Final = "epoch"
DIVERGED: Final = "diverged"
EXPIRED: Final = "expired"
INVALID: Final = "invalid"


@dataclass(frozen=True, slots=True)
class Gap:
    """A break in continuity: its reason, the number of missed entries (None: unknown), and the point to go on behind."""

    reason: str
    missed: int | None
    after: Point


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a page continues a position: with ``page.entries[index:]``, behind `gap` if there is one."""

    gap: Gap | None
    index: int


def judge(point: Point | Entry, page: Page) -> Verdict | None:
    """Decides how `page` continues `point`; None if this page cannot tell, and one from `point` on must be read."""
    entries = page.entries
    if point.epoch != page.epoch or point.offset == 0:
        point = in_life(point, page.epoch)
    if point.epoch != page.epoch:
        return Verdict(Gap(EPOCH, None, _behind_loss(point.epoch, page)), 0) if page.start <= page.first else None
    if point.offset == page.top and point.check == page.top_check:
        return Verdict(None, len(entries))
    if point.offset >= page.top:
        return Verdict(Gap(DIVERGED, None, page.head), len(entries))
    wanted = point.offset + 1
    if page.first > page.top:
        return Verdict(Gap(EXPIRED, None, page.head), 0)
    if wanted < page.first and page.start <= page.first:
        return Verdict(Gap(TRIMMED, None, beginning(page)), 0)
    if wanted < page.start:
        return None
    index = bisect_left(entries, wanted, key=_offset)
    if index == len(entries):
        if page.more and page.start < wanted:
            return None
        return Verdict(Gap(DIVERGED, None, page.head), index)  # foreign records, as far as a page goes
    found = entries[index]
    return Verdict(None if follows(found, point) else Gap(DIVERGED, None, before(found)), index)


def in_life(point: Point | Entry, epoch: bytes) -> Point | Entry:
    """`point`, moved to this epoch's beginning if it dates from before the channel's first entry, so nothing is missed."""
    if point.epoch == NO_EPOCH:
        return Point(epoch, 0, GENESIS)
    return point


def follows(entry: Entry, point: Point | Entry) -> bool:
    """Whether `entry` directly follows `point` of its epoch: a stored one at the next offset, an ephemeral one at the same."""
    return entry.prev == point.check and entry.offset == point.offset + entry.stored


def lost_life(point: Point | Entry) -> bytes:
    """The lost epoch already reported to a reader that stands before the channel's first entry; empty: none."""
    return point.check if point.epoch == NO_EPOCH and point.check != GENESIS else b""


def _behind_loss(epoch: bytes, page: Page) -> Point:
    """The point to go on behind after a log was lost; while the log is empty, `lost_life` finds `epoch` in it."""
    return Point(NO_EPOCH, 0, epoch) if page.epoch == NO_EPOCH else beginning(page)


def end_stands(end: Point | Entry, head: Point | Entry, closed: bool) -> bool:
    """Whether a channel still ends at `end`: its log is gone, or is closed right there.

    A log that restarted and has entries, holds another end, or goes on behind this one is no reason to stop.
    """
    if head.epoch != end.epoch:
        return head.offset == 0
    return closed and head.offset == end.offset and head.check == end.check


def before(entry: Entry) -> Point:
    """The point that a stored entry follows."""
    return Point(entry.epoch, entry.offset - 1, entry.prev)


def beginning(page: Page) -> Point:
    """The point right before the page's first entry, or the head if the page has no entry."""
    return before(page.entries[0]) if page.entries else page.head
