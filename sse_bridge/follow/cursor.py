"""One reader on one channel: its position, and the source of its next entries.

    unresolved   a start word ("now", "earliest", last N) that a read of the log must turn into a point; or an id of an
                 ended channel or a lost log, which the log must confirm
    behind       the window does not contain the point: the cursor waits for a page of the log
    paging       a page continues the point, perhaps behind a gap; entries come from the part kept of it
    in window    the next item has a serial in the feed's window (the only state on the path of a live event)
    ended        the stored end was seen, and the log is gone or closed there as far as this process knows; otherwise
                 the cursor is behind again

`point` stands behind the last entry delivered or hidden by the filter, and behind a gap only once that was delivered.
"""

from __future__ import annotations

from copy import copy
from typing import Final

from ..events import NO_EPOCH, Entry, Position, channel_key
from ..filters import Filter
from ..records.codec import id_part
from ..records.continuity import (
    DIVERGED,
    EPOCH,
    EXPIRED,
    INVALID,
    SLOW,
    TRIMMED,
    Gap,
    Page,
    Point,
    ReadRequest,
    end_stands,
    in_life,
    judge,
    lost_life,
    point_of,
)
from .evicted_checks import visible
from .feed import Feed
from .kept import FRAME_OVERHEAD, KeptPage
from .policies import Pace
from .start_point import StartPoint, place_before
from .window import Window

NOWHERE: Final = -(2**62)  # a serial that no window holds


class Cursor:
    """A reader's cursor on one channel; see the module.

    Args:
        page_bytes: see `keep_at_most`.

    Attributes:
        point: the reader's position; None while unresolved.
        serial: the window serial of the next item, or `NOWHERE`.
        joined: ephemeral items below this serial came before the reader did.
        gap: a gap to deliver before anything else.
        ended: no more entries will come, unless the log restarts or loses its end.
        reader: the hub's reader to wake when a page served this cursor; set by that reader.
        hidden: log entries that the filter hid since the last id that the client got.
        dropped: entries skipped by the slow-reader policy.
    """

    __slots__ = (
        "_came_from_window",
        "_caught_up",
        "_claims",
        "_page",
        "_page_bytes",
        "_resumed_invalid",
        "_skip_to",
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
        "reader",
        "serial",
        "start",
    )

    def __init__(
        self,
        feed: Feed,
        start: StartPoint,
        position: Position | None,
        invalid: bool,
        filter: Filter | None,
        pace: Pace,
        page_bytes: int,
    ) -> None:
        self.feed = feed
        self.channel = feed.channel
        self.key = channel_key(feed.channel)
        self.start = start
        self.filter = filter
        self.pace = pace
        self.reader: object | None = None
        self.point: Point | Entry | None = None
        self.ended = False
        self._claims = False  # the log must confirm the id's end or lost log
        if position is not None:
            self.point = Point(position.epoch.encode(), position.offset, position.check.encode())
            self._claims = position.ended or lost_life(self.point) != b""
        self.serial = NOWHERE
        self.joined = 0
        self.gap: Gap | None = None
        self.hidden = 0
        self.dropped = 0
        self._resumed_invalid = invalid
        self._came_from_window = False
        self._caught_up = False  # was at the head once; before that the reader is behind by its own request
        self._page: KeptPage | None = None
        self._page_bytes = page_bytes
        self._skip_to: int | None = None  # the policy's target offset, until a page tells the check there

    # waiting

    @property
    def in_window(self) -> bool:
        return self.serial != NOWHERE and self.gap is None

    @property
    def flows(self) -> bool:
        """Whether live events are next and nothing else: an open window has items, and no policy moves the cursor."""
        window = self.feed.window
        return (
            window is not None
            and window.first_serial <= self.serial < window.end_serial
            and not (window.closed or self.ended)
            and self._page is None
            and self.gap is None
            and self.pace.policy == "catch_up"
        )

    @property
    def at_end(self) -> bool:
        """Whether a closed channel has nothing left for this cursor."""
        w = self.feed.window
        return self.ended or (w is not None and w.closed and self.in_window and self.serial == w.end_serial)

    @property
    def mark(self) -> bytes:
        """The id's part where the serial does not imply it: after an end or a reported loss; otherwise empty."""
        return self.part() if self.point is not None and (self.ended or not self.point.offset) else b""

    def find_place(self) -> bool:
        """Finds the place in the window, or asks the feed for a page; True if the cursor can go on now."""
        if self.ended:
            if self._end_stands:
                return True
            self._reopen()
        if self.gap is not None or self._page is not None:
            return True
        window = self.feed.window
        if self.point is None or self._claims:
            self.feed.enqueue(self)  # the window may lag behind the log
            return False
        if window is not None:
            if window.first_serial <= self.serial <= window.end_serial:
                return True
            if self.serial != NOWHERE and window.restarted_since(self.serial):
                self._came_from_window = False  # trimmed entries were lost with the link, not by a slow reader
            self.serial = NOWHERE
            place = None if self.feed.doubted else window.locate(self.point)
            if place is not None:
                self.serial, self.joined = place, window.end_serial
                self._skip_to = None
                self._came_from_window = True
                self._caught_up = self._caught_up or place == window.end_serial
                self.feed.forget(self)  # the window grew up to the point while the cursor waited for a page
                return True
        if window is None or self.feed.live:
            self.feed.enqueue(self)
        return False

    def request(self) -> ReadRequest:
        if self.point is not None:
            offset = self.point.offset if self._skip_to is None else self._skip_to
            return ReadRequest(self.channel, self.point.epoch, offset, max_bytes=self._page_bytes)
        return self.start.request(self.channel, self.feed.window, self._page_bytes)

    def offer(self, page: Page) -> bool:
        window = self.feed.window
        if self.point is None:
            return self._begin(page)
        if self._claims and end_stands(self.point, page.head, page.closed):
            self._claims, self.ended = False, True
            if not self._end_stands:
                self.feed.suspect()  # the log is ahead of the window
            return True
        if self._skip_to is not None and self.point.epoch == page.epoch:
            return self._skip_by_page(page, self.point, self._skip_to)
        self._skip_to = None
        verdict = judge(self.point, page)
        if verdict is None:
            return False
        self._claims = False
        if (lost := lost_life(self.point) or self.point.epoch) not in (page.epoch, NO_EPOCH):
            self.feed.refuse(lost, by_id=True)
        if verdict.gap is not None:
            lacks = verdict.gap.reason in (EXPIRED, TRIMMED) and not self.feed.doubted
            if lacks and window is not None and window.locate(self.point) is not None:
                return True  # the window has entries that the log has not kept
            self.gap = self._counted(verdict.gap)
        self._keep(page.entries, verdict.index)
        if verdict.index >= len(page.entries) and window is not None and page.top > window.head.offset:
            self.feed.suspect()
        return True

    @property
    def behind(self) -> int:
        """Entries between the point and the head, as far as this process knows; 0 where the two cannot be compared."""
        window, point = self.feed.window, self.point
        if self.ended or window is None or point is None:
            return 0
        point = in_life(point, window.head.epoch)
        if point.epoch != window.head.epoch:
            return 0
        return max(0, window.head.offset - point.offset)

    def copy(self) -> Cursor:
        """Another cursor in the same place, without the kept page, which would advance for both, and without an entry."""
        other = copy(self)
        other._page = None
        other.point = self.point and point_of(self.point)
        return other

    # delivering

    def keep_at_most(self, page_bytes: int) -> None:
        """Limits the entries kept of a page to `page_bytes`, frames included; one entry is kept in any case."""
        if page_bytes < self._page_bytes and self._page is not None:
            self._page = self._page.cut(page_bytes)
        self._page_bytes = page_bytes

    @property
    def kept_bytes(self) -> int:
        """The size of the kept page, frames included."""
        return 0 if self._page is None else self._page.size

    @property
    def has_more(self) -> bool:
        """Whether `take` would return entries."""
        window = self.feed.window
        return self._page is not None or (window is not None and window.first_serial <= self.serial < window.end_serial)

    def take(self, max_bytes: int, overhead: int = FRAME_OVERHEAD) -> list[Entry]:
        """The next entries of the log, unfiltered; call after `skip` and after the gap was passed.

        Args:
            max_bytes: stop before the frames exceed this; one entry is returned in any case.
            overhead: bytes of a frame besides its data.
        """
        if self._page is not None:
            found, behind_hole = self._page.take(self.point, max_bytes, overhead)
            if behind_hole is not None:
                self.gap = Gap(DIVERGED, None, behind_hole)
            if self._page.spent:
                self._page = None
            return found
        window = self.feed.window
        if window is None or self.serial == NOWHERE:
            return []
        found = []
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
        """Applies the slow-reader policy: moves the cursor, and sets the gap that reports the move."""
        window = self.feed.window
        if self.pace.policy in ("catch_up", "block") or window is None or self.gap is not None or self.point is None:
            return
        if not (self._caught_up and self._came_from_window) or self._skip_to is not None:
            return
        point = in_life(self.point, window.head.epoch)
        if window.head.epoch != point.epoch:
            return
        target = self.pace.skip_to(point.offset, window.head.offset)
        if target is None or target <= point.offset:
            return
        after = window.point_at(target)
        if after is None and point is not self.point:  # a read from before the first entry cannot start elsewhere
            return
        self._page = None
        self.serial = NOWHERE
        self.feed.forget(self)  # a page read for the old point must not be judged by the new one
        if after is None:
            self._skip_to = target
        else:
            self._skip(window, point, point_of(after))

    def pass_gap(self) -> Gap:
        """Takes the gap for delivery, and moves the point behind it."""
        gap = self.gap
        assert gap is not None
        self.gap = None
        self.point = gap.after
        self.hidden = 0
        self.pace.keep_until = 0  # an offset from before the gap
        if gap.reason in (EPOCH, DIVERGED):
            self._caught_up = False  # in another history the cursor begins behind, like a reader that resumes
        return gap

    def part(self) -> bytes:
        """This channel's part of an SSE id; empty while the client has no point."""
        point = self.point
        return b"" if point is None else id_part(self.key, point, self.ended or (self._claims and point.offset > 0))

    # inside

    def _skip(self, window: Window, point: Point | Entry, after: Point) -> None:
        visibilities = window.missed(point, after.offset)
        missed = None if visibilities is None else visible(self.filter, visibilities)
        skipped = after.offset - point.offset
        self.dropped += skipped
        if self.feed.losses is not None:
            self.feed.losses.skipped(skipped)
        self.gap = Gap(SLOW, missed, after)

    def _skip_by_page(self, page: Page, point: Point | Entry, target: int) -> bool:
        """Skips behind `target`, whose check the page tells, or behind the trimmed entries beyond that."""
        place = place_before(max(target + 1, page.first), page)
        if place is None:
            return False
        self._skip_to = None
        after, window = point_of(place.point), self.feed.window
        assert window is not None
        if after.offset <= point.offset:
            self.feed.suspect()  # the log is shorter than the window believes
            return False
        self._skip(window, point, after)
        self._keep(page.entries, place.skip)
        return True

    def _keep(self, entries: list[Entry], index: int) -> None:
        self._page = KeptPage(entries, index, self._page_bytes) if index < len(entries) else None

    @property
    def _end_stands(self) -> bool:
        """Whether the end seen by the reader agrees with the log as far as this process knows."""
        feed, point = self.feed, self.point
        window = feed.window
        assert point is not None
        return window is None or not feed.live or end_stands(point, window.head, window.closed)

    def _reopen(self) -> None:
        """Gives up an end that the log does not hold any more: the point is judged like any position."""
        self.ended = self._caught_up = self._came_from_window = False
        self.serial = NOWHERE

    def _begin(self, page: Page) -> bool:
        place = self.start.place(page, self.feed.window)
        if place is None:
            return False
        at = point_of(place.point)
        if self._resumed_invalid:
            self._resumed_invalid = False
            self.gap = Gap(INVALID, None, at)
        elif not place.exact:
            self.gap = Gap(DIVERGED, None, at)
        else:
            self.point = at
        self._keep(page.entries, place.skip)
        return True

    def _counted(self, gap: Gap) -> Gap:
        if gap.reason != TRIMMED or self.point is None:
            return gap
        reason = SLOW if self._came_from_window else TRIMMED
        window = self.feed.window
        proven = window is not None and window.remembers(gap.after)
        visibilities = window.missed(self.point, gap.after.offset) if window is not None and proven else None
        missed = None if visibilities is None else visible(self.filter, visibilities)
        return Gap(reason, missed, gap.after)
