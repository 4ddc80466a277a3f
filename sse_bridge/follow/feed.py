"""One process's knowledge of one channel, and the reads of the log that are due.

States, in this order:

    joining    the subscription is not confirmed: nothing can be proven complete
    stale      confirmed, but the log may hold more than the window: a *head read* is due; live entries are kept aside
    live       the window's head is the log's head as far as known; live entries are pushed as they come

A lost link, a repeated confirmation, a hole, another epoch and a failed position check all lead back to *stale* (or
*joining*), never to an error. The read's page continues the window, or the window restarts behind a hole and every
reader is judged by its own position.

Readers whose position lies behind the window wait for a *backlog read*: one at a time, from the lowest position, its
page offered to all waiters. So do readers that ask for the top of the log (`now`, the last N) or whether an end still
stands: the window may lag behind, and they must not see the log as it was before they came.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Protocol

from ..events import GENESIS, NO_EPOCH, Entry
from ..records.codec import Announcement
from ..records.continuity import (
    EPOCH,
    EXPIRED,
    PAGE_BYTES,
    TRIMMED,
    Gap,
    Page,
    Point,
    ReadRequest,
    before,
    follows,
    in_life,
    judge,
    point_of,
)
from .window import Window

MOST_REFUSED: Final = 4  # losses of one log that are told before what was announced until the first one is heard


class Waiter(Protocol):
    """A cursor that waits for a page of the log; moving it meanwhile requires a call of `Feed.forget`."""

    def request(self) -> ReadRequest:
        """The read that would serve it."""

    def offer(self, page: Page) -> bool:
        """Takes a page that tells how the cursor goes on; False: the cursor still waits."""


class Losses(Protocol):
    """Counts entries that readers will never see; see hub/tally.py."""

    def skipped(self, count: int) -> None:
        """A slow-reader policy skipped `count` entries for one reader."""

    def ephemeral_dropped(self) -> None:
        """An ephemeral event did not directly follow the head."""


class Feed:
    """One channel in one process.

    Attributes:
        window: None until the first page came.
        confirmed: the broker confirmed the subscription since the link was last lost.
        stale: a head read is due.
        doubted: a page had another history than the window, which no reader may enter before the head read.
        reading: a read is under way (of either kind); at most one at a time.
        proven: a live message continued the head, so nothing was lost before it; reset by the hub.
        version: grows whenever any reader might see something new.
        told_version: the version at which readers were last woken; kept by the hub, like the next two.
        read_at: the hub's pass in which the channel was last read.
        counted: this feed's share in the hub's sum of sizes.
        aside_bytes: the bytes of the live messages that are kept aside.
        losses: counts for the whole process; None: not counted.
    """

    def __init__(self, channel: str, window_bytes: int, losses: Losses | None = None) -> None:
        self.channel = channel
        self.losses = losses
        self.window: Window | None = None
        self.confirmed = False
        self.stale = True
        self.doubted = False
        self.reading = False
        self.proven = False
        self.version = self.told_version = 0
        self.read_at = self.counted = 0
        self._window_bytes = window_bytes
        self._aside: list[Announcement] = []
        self.aside_bytes = 0
        self._aside_full = False
        self._head_read = False
        self._unbroken = False  # no announcement is known to be lost since the last head read
        self._check_due = False
        self._reads = 0
        self._known = 0  # the head's offset when the read under way began
        self._refused: tuple[bytes, ...] = ()  # checks of entries that the broker lost, see `refuse`
        self._lost: tuple[bytes, ...] = ()
        self._lost_by_ids: tuple[bytes, ...] = ()
        self._waiting: dict[Waiter, int] = {}  # with the number of reads begun when the waiter came

    @property
    def live(self) -> bool:
        return self.confirmed and not self.stale

    @property
    def size(self) -> int:
        """Roughly the bytes in memory of the window's entries and of those kept aside."""
        window = self.window
        return self.aside_bytes if window is None else window.size + self.aside_bytes

    def give_way(self, wanted: int, *, but_newest: bool = False) -> None:
        """Frees up to `wanted` bytes. Readers miss nothing silently: they read the log, or get a gap.

        Args:
            but_newest: keep the window's newest entry, which readers are about to take.
        """
        before = self.size
        if self.window is not None:
            self.window.give_way(wanted, but_newest=but_newest)
        if before - self.size < wanted and self._aside:
            self._take_aside()
            self._aside_full = True

    # events of the upstream

    def confirm(self) -> None:
        """The subscription is confirmed, for the first time or again."""
        self.confirmed = True
        self.stale = True
        self._check_due = False
        self._unbroken = False
        self._head_read = False  # a read under way began before this and may lack announcements in between
        self._take_aside()  # the next read has these entries, unless a failover lost them

    def lose(self) -> None:
        """The link is gone; live messages may be missing from here on."""
        self.confirmed = self._unbroken = False
        self.stale = True
        self._take_aside()

    def suspect(self) -> None:
        """The log may hold more than the window."""
        self.stale = True

    def check(self) -> None:
        """As `suspect`, and reads the log once even without a link, since an ACL may forbid the subscription alone."""
        self.stale = True
        self._check_due = not self.confirmed and self.window is not None

    def refuse(self, check: bytes, *, by_id: bool = False) -> None:
        """Ignores announcements of an entry that the broker lost: they were sent before, and only a page may bring it back.

        Readers go on right before this entry, so its followers do not fit either. An epoch is its first entry's check.

        Args:
            by_id: reported by a client's id; kept apart, so that made-up ids displace no proven loss.
        """
        if by_id:
            self._lost_by_ids = _with(self._lost_by_ids, check)
        else:
            self._lost = _with(self._lost, check)
        self._refused = self._lost + self._lost_by_ids

    def begin_anew(self) -> None:
        """Restarts the window at its head after an exception interrupted the application of a live message."""
        window = self.window
        if window is not None:
            head = window.head
            window.restart(point_of(head), window.closed or (isinstance(head, Entry) and head.is_end))
        self.stale = True
        self.version += 1
        self._take_aside()

    def announce(self, announcement: Announcement | None) -> None:
        """Applies a live message, or keeps it aside; None stands for a message that was no announcement of ours."""
        if announcement is None:
            self.stale = True
        elif self.confirmed and not (self.stale or self._head_read):
            self._apply(announcement)
        elif self.aside_bytes <= self._window_bytes:
            self._aside.append(announcement)
            self.aside_bytes += sum(entry.size for entry in announcement.entries)
        else:
            self._aside_full = True  # the log has these entries, and is read again

    # reads

    def enqueue(self, waiter: Waiter) -> None:
        """Queues a cursor for a backlog read."""
        self._waiting.setdefault(waiter, self._reads)

    def forget(self, waiter: Waiter) -> None:
        """Removes a cursor that left, moved, or needs no page: a read under way is not offered to it."""
        self._waiting.pop(waiter, None)

    def waiting(self) -> list[Waiter]:
        """The cursors in the queue."""
        return list(self._waiting)

    def next_read(self) -> ReadRequest | None:
        """The read that is due now, marked as under way; a call of `resolve` or `fail` must follow."""
        if self.reading or not (self.confirmed or self._check_due):
            return None
        self._check_due = False
        if not (self.stale or self._waiting):
            return None
        self._head_read = self.stale
        head = None if self.window is None else self.window.head
        if self.stale and head is not None:
            request = ReadRequest(self.channel, head.epoch, head.offset)
        else:
            request = self._lowest()
        self.reading = True
        self._reads += 1
        self._known = 0 if head is None else head.offset
        return request

    def resolve(self, page: Page) -> list[Waiter]:
        """Takes the page that `next_read` asked for; returns the waiters that it served."""
        self.reading = False
        if self._head_read:
            self._head_read = self.doubted = False
            self._apply_up_to(page)
            self._absorb(page)
            self._check_due = self.stale and not self.confirmed
            self.version += 1
        elif self.window is not None:
            self.window.extend_down(page.entries)
            if (
                page.epoch != self.window.head.epoch
                or page.top < self._known
                or self.window.remembers(page.head) is False
            ):
                self.stale = self.doubted = True
        served: list[Waiter] = []
        for waiter, reads in self._waiting.items():
            # A waiter that came during the read may stand behind the page's top, which would look like a lost history.
            if reads < self._reads and waiter.offer(page):
                served.append(waiter)
        for waiter in served:
            self._waiting.pop(waiter, None)
        if self.live:
            self.stale = self._aside_full
            for announcement in self._take_aside():
                self._apply(announcement)
        return served

    def fail(self) -> None:
        """Makes a failed read due again; the caller decides when to try."""
        self.reading = False
        self._head_read = False

    def _lowest(self) -> ReadRequest:
        """The read that serves most waiters: from the lowest position; every page brings the head besides."""
        requests = [request for waiter in self._waiting if (request := waiter.request()).limit]
        if not requests:
            return ReadRequest(self.channel, limit=0)
        lowest = min(requests, key=lambda r: (r.epoch is not None, r.offset))
        window = self.window
        if (
            window is None
            or (window.grows and lowest.offset + lowest.limit >= window.base.offset)
            or any([request.offset != lowest.offset for request in requests])
        ):  # the window, or readers in other places, can use more of the page than its reader keeps
            return replace(lowest, max_bytes=PAGE_BYTES)
        return lowest

    def _take_aside(self) -> list[Announcement]:
        aside, self._aside = self._aside, []
        self.aside_bytes = 0
        self._aside_full = False
        return aside

    def _apply_up_to(self, page: Page) -> None:
        """Pushes entries kept aside that are no newer than the page and continue the window: the log may have lost them."""
        window, aside = self.window, self._aside
        while aside and window is not None and aside[0].top <= page.top and _goes_on(aside[0], window.head):
            announcement = aside.pop(0)
            self.aside_bytes -= sum([entry.size for entry in announcement.entries])
            self._apply(announcement)

    def _may_be_heard(self, gap: Gap) -> bool:
        """Whether entries that a page lacks may still be announced: nothing is known to be lost, and this is the first look."""
        waits = self._unbroken and gap.reason in (EXPIRED, TRIMMED)
        self._unbroken = False
        return waits

    def _refuse_lost(self, window: Window, gap: Gap) -> None:
        """Refuses the window's first entry that the log does not hold any more."""
        if gap.reason == EPOCH:
            self.refuse(window.head.epoch)
        elif gap.after.offset < window.head.offset:
            lost = window.point_at(gap.after.offset + 1)
            if lost is not None:
                self.refuse(lost.check)

    def _absorb(self, page: Page) -> None:
        window = self.window
        if window is None:
            self.window = Window(page.head, self._window_bytes, page.closed)
            if not page.more:
                self.window.extend_down(page.entries)
            self.stale, self._unbroken = False, self.confirmed
            return
        verdict = judge(window.head, page)
        if verdict is None:  # impossible: the page was read from this very head
            self.stale = True
            return
        if verdict.gap is not None and self._may_be_heard(verdict.gap):
            self.stale = self.doubted = True
            return
        if verdict.gap is not None:
            self._refuse_lost(window, verdict.gap)
            window.restart(point_of(in_life(verdict.gap.after, page.epoch)), page.closed and not page.entries)
        elif page.epoch != window.head.epoch:
            window.begin(page.epoch)
        elif window.head.offset == page.top:
            window.closed = page.closed
        for entry in page.entries[verdict.index :]:
            if not follows(entry, window.head):  # a foreign record left a hole
                window.restart(before(entry))
            window.push(entry)
        self.stale = page.more
        self._unbroken = self.confirmed
        if not page.more and window.head.offset < page.top:  # foreign records up to the head
            window.restart(page.head, page.closed)

    def _apply(self, announcement: Announcement) -> None:
        window, epoch = self.window, announcement.epoch
        if window is None:
            self.stale = True
            return
        head = window.head
        if epoch is not None and epoch != head.epoch:
            if head.epoch != NO_EPOCH or epoch in self._refused or not _begins(announcement):
                self.stale = True
                return
            window.begin(epoch)
            head = window.head
        for entry in announcement.entries:
            if epoch is None:
                entry.epoch = head.epoch  # true if the entry continues the head, which is checked below
            if follows(entry, head) and entry.check not in self._refused:
                window.push(entry)
                head = window.head
                self.version += 1
                self.proven = True
            elif not entry.stored:
                self.stale = self.stale or entry.offset == head.offset  # of another history
                if self.losses is not None:
                    self.losses.ephemeral_dropped()
            elif window.remembers(entry) is not True:  # a hole, or another history
                self.stale = True
                return
        if announcement.top > head.offset:
            self.stale = True


def _with(lost: tuple[bytes, ...], check: bytes) -> tuple[bytes, ...]:
    return lost if check in lost else (*lost[1 - MOST_REFUSED :], check)


def _goes_on(announcement: Announcement, head: Point | Entry) -> bool:
    """Whether the announcement's first entry follows `head`, or is at or before it."""
    if not announcement.entries or (announcement.epoch not in (None, head.epoch) and head.epoch != NO_EPOCH):
        return False
    first = announcement.entries[0]
    return (first.stored and first.offset <= head.offset) or follows(first, head)


def _begins(announcement: Announcement) -> bool:
    """Whether the announcement holds the first entry of its epoch."""
    entries = announcement.entries
    return bool(entries) and entries[0].offset == 1 and entries[0].prev == GENESIS
