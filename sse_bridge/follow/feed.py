"""What one process knows of one channel, and what it must still ask the broker.

States, in this order:

    joining    the subscription is not confirmed: nothing can be proven to be complete
    stale      confirmed, but the log may hold more than the window: a *head read* is due; live entries are kept aside
    live       the window's head is the log's head as far as anyone knows; live entries are pushed as they come

A lost link, a repeated confirmation, a hole, another epoch and a failed position check all lead back to *stale* (or
*joining*); never to an error. The read decides: its page continues the window, or the window restarts behind a hole
and every reader is judged by its own position.

Readers whose position lies behind the window wait for a *backlog read*: one at a time, from the lowest position, its
page offered to all who wait.
"""

from __future__ import annotations

from typing import Protocol

from ..records import Announcement
from .page import Page, Point, ReadRequest, judge
from .window import Window


class Waiter(Protocol):
    """A cursor that waits for a page of the log."""

    def request(self) -> ReadRequest:
        """What it needs."""

    def offer(self, page: Page) -> bool:
        """Takes the page if it can tell how the cursor goes on; False: still waiting."""


class Losses(Protocol):
    """Where a feed counts what its readers will never see; see hub/tally.py."""

    def skipped(self, count: int) -> None:
        """A slow-reader policy skipped so many entries, for one reader."""

    def ephemeral_dropped(self) -> None:
        """An ephemeral event did not directly follow the head."""


class Feed:
    """One channel in one process.

    Attributes:
        window: None until the first page came.
        confirmed: the broker confirmed the subscription since the link was last lost.
        stale: a head read is due.
        reading: a read is under way (of either kind); at most one at a time.
        ephemerals_dropped: ephemeral events that did not follow the head directly.
        proven: a live message continued the head: nothing was lost before it. Whoever has looked sets it back.
        version: grows whenever a reader might see something new.
        told: the version of which its readers were last told; the switchboard's.
        losses: counts for the whole process; None: nobody asks.
    """

    def __init__(self, channel: str, window_bytes: int, losses: Losses | None = None) -> None:
        self.channel = channel
        self.losses = losses
        self.window: Window | None = None
        self.confirmed = False
        self.stale = True
        self.reading = False
        self.ephemerals_dropped = 0
        self.proven = False
        self.version = self.told = 0
        self._window_bytes = window_bytes
        self._aside: list[Announcement] = []
        self._aside_bytes = 0
        self._aside_full = False
        self._head_read = False
        self._check_due = False
        self._reads = 0
        self._waiting: dict[Waiter, int] = {}  # and how many reads had begun when it came

    @property
    def live(self) -> bool:
        return self.confirmed and not self.stale

    # what the upstream tells

    def confirm(self) -> None:
        """The subscription is confirmed, for the first time or again."""
        self.confirmed = True
        self.stale = True
        self._check_due = False
        self._head_read = False  # one under way began before this and may lack what was announced in between
        self._take_aside()  # of before: the read that follows has it, unless a failover threw it away

    def lose(self) -> None:
        """The link is gone; live messages may be missing from here on."""
        self.confirmed = False
        self.stale = True
        self._take_aside()

    def suspect(self) -> None:
        """The log may hold more than the window."""
        self.stale = True

    def check(self) -> None:
        """The same, and the log is read once even while the link is lost: an ACL may forbid just the subscription."""
        self.stale = True
        self._check_due = not self.confirmed and self.window is not None

    def announce(self, announcement: Announcement | None) -> None:
        """A live message; None: something that was no announcement of ours."""
        if announcement is None:
            self.stale = True
        elif self.confirmed and not (self.stale or self._head_read):
            self._apply(announcement)
        elif self._aside_bytes <= self._window_bytes:
            self._aside.append(announcement)
            self._aside_bytes += sum(entry.size for entry in announcement.entries)
        else:
            self._aside_full = True  # the log is the truth, and is read again

    # what must be read

    def wait(self, waiter: Waiter) -> None:
        """Queues a cursor for a backlog read."""
        self._waiting.setdefault(waiter, self._reads)

    def forget(self, waiter: Waiter) -> None:
        """A reader left, or needs no page any more."""
        self._waiting.pop(waiter, None)

    def next_read(self) -> ReadRequest | None:
        """The read that is due now, marked as under way; `resolve` or `fail` must follow."""
        if self.reading or not (self.confirmed or self._check_due):
            return None
        self._check_due = False
        request: ReadRequest | None = None
        if self.stale:
            self._head_read = True
            if self.window is not None:
                head = self.window.head
                request = ReadRequest(self.channel, head.epoch, head.offset)
            else:
                request = self._lowest() or ReadRequest(self.channel, limit=0)
        elif self._waiting:
            request = self._lowest()
        if request is not None:
            self.reading = True
            self._reads += 1
        return request

    def resolve(self, page: Page) -> None:
        """The read that `next_read` asked for came back."""
        self.reading = False
        if self._head_read:
            self._head_read = False
            self._absorb(page)
            self._check_due = self.stale and not self.confirmed
        elif self.window is not None:
            self.window.extend_down(page.entries)
            if page.epoch != self.window.head.epoch or self.window.remembers(page.head) is False:
                self.stale = True
        for waiter, reads in list(self._waiting.items()):
            # Who came while the page was under way may stand behind its top, and that would look like a lost history.
            if reads < self._reads and waiter.offer(page):
                del self._waiting[waiter]
        if self.live:
            self.stale = self._aside_full
            for announcement in self._take_aside():
                self._apply(announcement)
        self.version += 1

    def fail(self) -> None:
        """The read failed; it is due again (when to try is the caller's)."""
        self.reading = False
        self._head_read = False

    def _lowest(self) -> ReadRequest | None:
        if not self._waiting:
            return None
        requests = [waiter.request() for waiter in self._waiting]
        return min(requests, key=lambda r: (r.epoch is not None, r.offset))

    def _take_aside(self) -> list[Announcement]:
        aside, self._aside = self._aside, []
        self._aside_bytes = 0
        self._aside_full = False
        return aside

    def _absorb(self, page: Page) -> None:
        window = self.window
        if window is None:
            self.window = Window(page.head, self._window_bytes, page.closed)
            if not page.more:
                self.window.extend_down(page.entries)
            self.stale = False
            return
        verdict = judge(window.head, page)
        if verdict is None:  # cannot be: the page was read from this very head
            self.stale = True
            return
        if verdict.gap is not None:
            window.restart(verdict.gap.after, page.closed and not page.entries)
        for entry in page.entries[verdict.index :]:
            if (entry.offset - 1, entry.prev) != (
                window.head.offset,
                window.head.check,
            ):  # a foreign record left a hole
                window.restart(Point(entry.epoch, entry.offset - 1, entry.prev))
            window.push(entry)
        self.stale = page.more
        if not page.more and window.head.offset < page.top:  # foreign records up to the head
            window.restart(page.head, page.closed)

    def _apply(self, announcement: Announcement) -> None:
        window, epoch = self.window, announcement.epoch
        if window is None or (epoch is not None and epoch != window.head.epoch):
            self.stale = True
            return
        head = window.head
        for entry in announcement.entries:
            if epoch is None:
                entry.epoch = head.epoch  # if it continues the head, which is asked here
            if not entry.stored:
                if entry.offset == head.offset and entry.prev == head.check:
                    window.push(entry)
                    self.version += 1
                    self.proven = True
                else:
                    self.stale = self.stale or entry.offset == head.offset  # of another history
                    self.ephemerals_dropped += 1
                    if self.losses is not None:
                        self.losses.ephemeral_dropped()
            elif entry.offset == head.offset + 1 and entry.prev == head.check:
                window.push(entry)
                head = entry
                self.version += 1
                self.proven = True
            elif window.remembers(entry) is not True:  # a hole, or another history
                self.stale = True
                return
        if announcement.top > head.offset:
            self.stale = True
