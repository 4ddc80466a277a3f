"""Start of a reader without a position: at the top of the log at that moment, before the last N entries, or the oldest.

A window may lag behind its log by announcements on their way, so the top is read from the log.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, NamedTuple

from ..events import Entry
from ..records.continuity import Page, Point, ReadRequest, before
from .window import Window

_offset = attrgetter("offset")


class Place(NamedTuple):
    """A point to begin behind, with ``page.entries[skip:]``; not `exact` if foreign records stand before the point."""

    point: Point | Entry
    skip: int
    exact: bool = True


@dataclass(frozen=True, slots=True)
class StartPoint:
    """A start word; see the module.

    Attributes:
        mode: ``now`` (behind the top), ``earliest`` (before the oldest entry), ``last`` (before the last `count` entries).
    """

    mode: Literal["now", "earliest", "last"] = "now"
    count: int = 0

    def request(self, channel: str, window: Window | None, max_bytes: int) -> ReadRequest:
        """The read to make: of the head alone where that is enough, or where the window has the entries."""
        if self.mode == "now":
            return ReadRequest(channel, limit=0)
        if self.mode == "earliest":
            return ReadRequest(channel, max_bytes=max_bytes)
        if window is not None and window.base.offset <= window.head.offset - self.count:
            return ReadRequest(channel, limit=0)
        return ReadRequest(channel, offset=-self.count, max_bytes=max_bytes)

    def place(self, page: Page, window: Window | None) -> Place | None:
        """The place to begin, by a page read after the reader came; None if the page cannot tell."""
        entries = page.entries
        if self.mode == "now":
            return Place(page.head, len(entries))
        wanted = page.first
        if self.mode == "last":
            wanted = max(wanted, page.top - self.count + 1)
        if page.start > wanted:
            return _in_window(wanted - 1, page, window)
        return place_before(wanted, page)


def place_before(wanted: int, page: Page) -> Place | None:
    """The place before the page's first entry from offset `wanted` on; None if the page cannot tell."""
    entries = page.entries
    if page.start > wanted:
        return None
    index = bisect_left(entries, wanted, key=_offset)
    if index < len(entries):
        entry = entries[index]
        return Place(before(entry), index, entry.offset == wanted)
    if page.more and page.start < wanted:
        return None
    return Place(page.head, index, page.top == wanted - 1)


def _in_window(offset: int, page: Page, window: Window | None) -> Place | None:
    """The point at `offset`, if a window of the page's history has it."""
    if window is None or window.head.epoch != page.epoch or window.remembers(page.head) is False:
        return None
    point = window.point_at(offset) if offset <= window.head.offset else None
    return None if point is None else Place(point, len(page.entries))
