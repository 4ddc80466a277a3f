"""One reader on one channel: where it stands, and where its next entries come from.

    unresolved   a start word ("now", "earliest", last N) that a page or the window must turn into a point
    behind       a point that the window does not contain: it waits for a page of the log
    paging       a page continues it, perhaps behind a gap; entries are taken from the page
    in window    its next item has a serial in the feed's window (the only state on the path of a live event)
    ended        it has seen the stored end, or came with an id that says so

`point` is how far the reader has come: past what was delivered or hidden by the filter, and past a gap only once that
was told.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Literal

from ..events import VISIBILITY_OF_CODE, Entry, Position, channel_key
from ..filters import Filter
from .feed import Feed
from .page import DIVERGED, INVALID, SLOW, TRIMMED, Gap, Page, Point, ReadRequest, judge
from .policies import Pace

NOWHERE: Final = -(2**62)  # a serial that no window holds
FRAME_OVERHEAD: Final = 100  # bytes that a frame has besides its data: field names, a short type, its channel's id

_offset = attrgetter("offset")


@dataclass(frozen=True, slots=True)
class Start:
    """Where a reader without a position begins."""

    mode: Literal["now", "earliest", "last"] = "now"
    count: int = 0


class Cursor:
    """See the module.

    Attributes:
        point: how far the reader has come; None while unresolved.
        serial: the window serial of its next item, or `NOWHERE`.
        joined: ephemeral items below this serial came before the reader did.
        gap: a gap to tell before anything else.
        ended: nothing more will come.
        hidden: log entries that the filter hid since the client was last told a position.
        dropped: entries skipped by the slow-reader policy.
    """

    __slots__ = (
        "_came_from_window",
        "_caught_up",
        "_index",
        "_page",
        "_resumed_invalid",
        "channel",
        "dropped",
        "ended",
        "feed",
        "filter",
        "gap",
        "hidden",
        "joined",
        "key",
        "pace",
        "point",
        "serial",
        "start",
    )

    def __init__(
        self,
        feed: Feed,
        start: Start,
        position: Position | None,
        invalid: bool,
        filter: Filter | None,
        pace: Pace,
    ) -> None:
        self.feed = feed
        self.channel = feed.channel
        self.key = channel_key(feed.channel)
        self.start = start
        self.filter = filter
        self.pace = pace
        self.point: Point | Entry | None = None
        self.ended = False
        if position is not None:
            self.point = Point(position.epoch.encode(), position.offset, position.check.encode())
            self.ended = position.ended
        self.serial = NOWHERE
        self.joined = 0
        self.gap: Gap | None = None
        self.hidden = 0
        self.dropped = 0
        self._resumed_invalid = invalid
        self._came_from_window = False
        self._caught_up = False  # it was at the head once; before that it is behind by its own wish
        self._page: list[Entry] = []
        self._index = 0

    # what it waits for

    @property
    def resolved(self) -> bool:
        """It has a point, and the log has said whether that continues."""
        return self.ended or self.gap is not None or self.serial != NOWHERE or bool(self._page)

    @property
    def in_window(self) -> bool:
        return self.serial != NOWHERE and self.gap is None

    @property
    def flows(self) -> bool:
        """It stands in an open window that has something for it, and no policy moves it: live events, nothing else."""
        window = self.feed.window
        return (
            window is not None
            and window.first_serial <= self.serial < window.end_serial
            and not (window.closed or self.ended or self._page)
            and self.gap is None
            and self.pace.policy == "catch_up"
        )

    @property
    def at_end(self) -> bool:
        """Nothing is left for it on a closed channel."""
        if self.ended:
            return True
        window = self.feed.window
        return window is not None and window.closed and self.in_window and self.serial == window.end_serial

    def settle(self) -> bool:
        """Finds its place in the window, or asks the feed for a page; True if it can go on now."""
        if self.ended or self.gap is not None or self._page:
            return True
        window = self.feed.window
        if window is not None:
            if window.first_serial <= self.serial <= window.end_serial:
                return True
            if self.serial != NOWHERE and window.restarted_since(self.serial):
                self._came_from_window = False  # what is trimmed by now was lost with the link, not by being slow
            self.serial = NOWHERE
            if self.point is None and self.feed.live:
                self._resolve_from_window()
                if self.gap is not None:
                    return True
            if self.point is not None:
                place = window.locate(self.point)
                if place is not None:
                    self.serial, self.joined = place, window.end_serial
                    self._came_from_window = True
                    self._caught_up = self._caught_up or place == window.end_serial
                    self.feed.forget(self)  # the window grew up to it while it waited for a page
                    return True
        if window is None or self.feed.live:
            self.feed.wait(self)
        return False

    def request(self) -> ReadRequest:
        if self.point is not None:
            return ReadRequest(self.channel, self.point.epoch, self.point.offset)
        if self.start.mode == "now":
            return ReadRequest(self.channel, limit=0)
        return ReadRequest(self.channel, offset=-self.start.count if self.start.mode == "last" else 0)

    def offer(self, page: Page) -> bool:
        if self.gap is not None:
            return True  # a slow reader's skip, decided while it waited: where it goes on is not where it waited
        if self.point is None:
            return self._resolve_from_page(page)
        verdict = judge(self.point, page)
        if verdict is None:
            return False
        if verdict.gap is not None:
            self.gap = self._counted(verdict.gap)
        self._page, self._index = page.entries, verdict.index
        if verdict.index >= len(page.entries):
            self._page = []
            window = self.feed.window
            if window is not None and page.top > window.head.offset:
                self.feed.suspect()  # the log is ahead of the window
        return True

    @property
    def behind(self) -> int:
        """How many entries the head is ahead of it, as far as this process knows; 0 where they cannot be compared."""
        window, point = self.feed.window, self.point
        if self.ended or window is None or point is None or point.epoch != window.head.epoch:
            return 0
        return max(0, window.head.offset - point.offset)

    # what it delivers

    @property
    def has_more(self) -> bool:
        """`take` would return something."""
        window = self.feed.window
        return bool(self._page) or (window is not None and window.first_serial <= self.serial < window.end_serial)

    def take(self, max_bytes: int, overhead: int = FRAME_OVERHEAD) -> list[Entry]:
        """The next entries as they stand in the log, unfiltered; `skip` and the gap come before.

        Args:
            max_bytes: stop before their frames exceed this; one is returned in any case.
            overhead: bytes of a frame besides its data.
        """
        if self._page:
            return self._take_page(max_bytes, overhead)
        window = self.feed.window
        if window is None or self.serial == NOWHERE:
            return []
        found: list[Entry] = []
        size = 0
        bound = self.pace.keep_until or None
        items = window.items
        index = self.serial - items.tail_serial
        for entry in items.tail[index:] if index >= 0 else items.since(self.serial):
            size += len(entry.data) + overhead
            if (size > max_bytes and found) or (bound is not None and entry.offset > bound):
                break
            self.serial += 1
            if entry.stored or self.serial > self.joined:
                found.append(entry)
        if self.serial == window.end_serial:
            self._caught_up = True
        return found

    def skip(self) -> None:
        """Applies the slow-reader policy: a move of the cursor and a gap that tells it."""
        window = self.feed.window
        if self.pace.policy in ("catch_up", "block") or window is None or self.gap is not None or self.point is None:
            return
        if window.head.epoch != self.point.epoch or not (self._caught_up and self._came_from_window):
            return
        target = self.pace.skip_to(self.point.offset, window.head.offset)
        if target is None:
            return
        target = max(target, window.base.offset)
        if target <= self.point.offset:
            return
        after = window.point_at(target)
        visibilities = window.missed(self.point, target)
        missed = None if visibilities is None else _visible(self.filter, visibilities)
        skipped = target - self.point.offset
        self.dropped += skipped
        if self.feed.losses is not None:
            self.feed.losses.skipped(skipped)
        self.gap = Gap(SLOW, missed, Point(after.epoch, after.offset, after.check))
        self._page = []
        self.serial = NOWHERE

    def pass_gap(self) -> Gap:
        """The gap is being told: the client stands behind it now."""
        gap = self.gap
        assert gap is not None
        self.gap = None
        self.point = gap.after
        self.hidden = 0
        return gap

    def part(self) -> bytes:
        """This channel's part of an SSE id; empty while the client has no point."""
        return b"" if self.point is None else id_part(self.key, self.point, self.ended)

    # inside

    def _take_page(self, max_bytes: int, overhead: int) -> list[Entry]:
        found: list[Entry] = []
        size = 0
        point = self.point
        while self._index < len(self._page):
            entry = self._page[self._index]
            size += len(entry.data) + overhead
            if size > max_bytes and found:
                break
            if point is not None and entry.prev != point.check:  # a foreign record left a hole inside the page
                if not found:
                    self.gap = Gap(DIVERGED, None, Point(entry.epoch, entry.offset - 1, entry.prev))
                break
            found.append(entry)
            point = entry
            self._index += 1
        if self._index >= len(self._page):
            self._page = []
        return found

    def _resolve_from_window(self) -> None:
        window = self.feed.window
        assert window is not None
        point: Point | Entry | None = None
        if self.start.mode == "now":
            point = window.head
        elif self.start.mode == "last":
            target = window.head.offset - self.start.count
            if target >= window.base.offset:
                point = window.point_at(target)
        if point is not None:
            self._begin(point)

    def _resolve_from_page(self, page: Page) -> bool:
        index = len(page.entries)
        if self.start.mode == "now":
            point = page.head
        else:
            wanted = page.first
            if self.start.mode == "last":
                wanted = max(wanted, page.top - self.start.count + 1)
            if page.start > wanted:
                return False
            index = bisect_left(page.entries, wanted, key=_offset)
            if index < len(page.entries):
                entry = page.entries[index]
                point = Point(entry.epoch, entry.offset - 1, entry.prev)
            elif page.more and page.start < wanted:
                return False
            else:
                point = page.head
            if point.offset != wanted - 1:  # foreign records
                self.gap = Gap(DIVERGED, None, point)
        self._begin(point)
        self._page, self._index = (page.entries, index) if index < len(page.entries) else ([], 0)
        return True

    def _begin(self, point: Point | Entry) -> None:
        if self._resumed_invalid:
            self._resumed_invalid = False
            self.gap = Gap(INVALID, None, Point(point.epoch, point.offset, point.check))
        elif self.gap is None:
            self.point = point

    def _counted(self, gap: Gap) -> Gap:
        if gap.reason != TRIMMED or self.point is None:
            return gap
        reason = SLOW if self._came_from_window else TRIMMED
        window = self.feed.window
        proven = window is not None and window.remembers(gap.after)
        visibilities = window.missed(self.point, gap.after.offset) if window is not None and proven else None
        missed = None if visibilities is None else _visible(self.filter, visibilities)
        return Gap(reason, missed, gap.after)


def id_part(key: bytes, point: Point | Entry, ended: bool) -> bytes:
    if ended:
        return b"%b-%b-%d-%b-e" % (key, point.epoch, point.offset, point.check)
    return b"%b-%b-%d-%b" % (key, point.epoch, point.offset, point.check)


def _visible(filter: Filter | None, codes: list[str]) -> int | None:
    """How many of the entries with these visibilities the filter would have shown; None if only it could say."""
    if filter is None:
        return len(codes)
    hides = filter.hidden_visibilities()
    if hides is None:
        return None
    return sum(1 for code in codes if VISIBILITY_OF_CODE.get(code) not in hides)
