"""What a hub must do next, without doing it: the feeds of a process, who reads them, and what is due.

The drivers (loop.py, threads.py) call it under their own serialisation, carry out what it returns, and tell it the
outcome. All decisions that both colours share stand here; time comes in as an argument (seconds, monotonic).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, Protocol

from ..chance import CHANCE
from ..config import Settings
from ..follow.cursor import Cursor
from ..follow.feed import Feed
from ..follow.follower import Batch, BatchCache, Follower
from ..follow.page import Page, ReadRequest
from ..follow.policies import Pace
from ..follow.wish import Wish
from ..records import Announcement
from .tally import Tally

logger = logging.getLogger("sse_bridge.hub")

READS_AT_ONCE: Final = 16  # channels per round trip of reads
BUSY_PER_TICK: Final = 1024  # channels looked at that were busy a tick ago; a look costs 0.2 µs
CHECKS_PER_TICK: Final = 256  # position checks per tick; with more channels the period stretches
BACKOFF_SECONDS: Final = (0.05, 2.0)  # after a failed read: from … to, doubling, jittered


class Reader(Protocol):
    """Whoever waits for deliveries; `wake` never blocks and may be called too often."""

    follower: Follower

    def wake(self) -> None: ...


def log_lag(follower: Follower) -> None:
    """Says once per reader that it is slow. Under no lock: a handler of logging may wait, or publish."""
    if follower.lags:
        logger.warning("a reader of %r is slow: %d entries skipped", follower.group[0], follower.dropped)


class Switchboard:
    """See the module.

    Attributes:
        feeds: by channel, with readers or lingering.
        cache: batches shared by the followers of this hub.
        checked_seconds: how long the last full round of position checks took; the setting, or more under load.
        tally: counts what was lost; shared by the hubs of a bridge.
    """

    def __init__(self, settings: Settings, tally: Tally | None = None) -> None:
        self._settings = settings
        self.tally = tally or Tally()
        self.feeds: dict[str, Feed] = {}
        self.cache = BatchCache()
        self.checked_seconds = settings.check_seconds
        self._readers: defaultdict[str, set[Reader]] = defaultdict(set)
        self._lingering: dict[str, float] = {}  # channel: when to unsubscribe
        self._to_subscribe: list[str] = []
        self._touched: set[Feed] = set()
        self._reads_wanted: set[str] = set()
        self._backoff = 0.0
        self._reads_from = 0.0
        self._check_queue: list[str] = []
        self._busy: dict[str, None] = {}  # their live messages prove their positions; looked at every tick
        self._check_due = 0.0
        self._check_round_began = 0.0

    # readers

    def feed(self, channel: str) -> Feed:
        """The channel's feed, made and queued for subscription at its first use."""
        feed = self.feeds.get(channel)
        if feed is None:
            feed = self.feeds[channel] = Feed(channel, self._settings.window_bytes, self.tally)
            self._to_subscribe.append(channel)
        self._lingering.pop(channel, None)
        return feed

    def follower(self, wish: Wish) -> Follower:
        """A follower for what a reader wants; `join` must follow."""
        cursors = []
        for channel, position in zip(wish.channels, wish.positions, strict=True):
            pace = Pace(wish.policy, wish.queue_size)
            cursors.append(Cursor(self.feed(channel), wish.start, position, wish.invalid, wish.filter, pace))
        return Follower(cursors, wish.filter, max(1, self._settings.replay_size // 4))

    def join(self, reader: Reader) -> None:
        """From now on the reader is woken when one of its channels may have something for it."""
        for cursor in reader.follower.cursors:
            self._readers[cursor.channel].add(reader)
            self._reads_wanted.add(cursor.channel)

    def leave(self, reader: Reader, now: float) -> None:
        """The reader is gone; its channels linger a while, since a reload comes back at once. Idempotent."""
        for cursor in reader.follower.cursors:
            readers = self._readers.get(cursor.channel)
            if readers is None or reader not in readers:
                continue
            readers.discard(reader)
            cursor.feed.forget(cursor)
            if not readers:
                del self._readers[cursor.channel]
                self._lingering[cursor.channel] = now + self._settings.linger_seconds

    def readers(self) -> set[Reader]:
        return set().union(*self._readers.values()) if self._readers else set()

    def ready(self, follower: Follower) -> bool:
        """Whether every channel is subscribed and read; else the reads that are missing become due."""
        ready = follower.ready
        if not ready:
            self._want(follower)
        return ready

    def pull(self, follower: Follower, max_bytes: int, *, shared: bool = True) -> Batch | None:
        """What the follower's reader gets now; None: wait, and see what is due.

        Args:
            shared: other followers may stand in the same place and get the same batch.
        """
        batch = follower.pull(self.cache if shared else None, max_bytes)
        if batch is None:
            self._want(follower)
        return batch

    def _want(self, follower: Follower) -> None:
        for cursor in follower.cursors:
            if not cursor.in_window:
                self._reads_wanted.add(cursor.channel)

    # what the upstream tells (the hub is the Sink and passes it on)

    def announced(self, channel: str, announcement: Announcement | None) -> None:
        feed = self.feeds.get(channel)
        if feed is not None:
            feed.announce(announcement)
            self._touched.add(feed)

    def confirmed(self, channel: str) -> None:
        feed = self.feeds.get(channel)
        if feed is not None:
            feed.confirm()
            self._reads_wanted.add(channel)
            self._backoff = self._reads_from = 0.0  # the broker answers again

    def lost(self, channels: Sequence[str] | None) -> bool:
        """The link is gone for these channels; False if that was known already."""
        feeds = [self.feeds[name] for name in (self.feeds if channels is None else channels) if name in self.feeds]
        news = any(feed.confirmed for feed in feeds)
        for feed in feeds:
            feed.lose()
        if news:
            self.tally.link_lost()
        return news

    def changed(self) -> set[Reader]:
        """The readers to wake: one of their feeds has a new version since the last call."""
        woken: set[Reader] = set()
        for feed in self._touched:
            if feed.stale:
                self._reads_wanted.add(feed.channel)
            if feed.version != feed.told:
                feed.told = feed.version
                readers = self._readers.get(feed.channel)
                if readers:
                    woken |= readers
        self._touched.clear()
        if woken:
            self.cache.clear()
        return woken

    # what is due

    def subscribes(self) -> list[str]:
        """Channels to subscribe to now."""
        channels, self._to_subscribe = self._to_subscribe, []
        return channels

    def unsubscribes(self, now: float) -> list[str]:
        """Channels whose last reader left long enough ago; they are forgotten here."""
        gone = [channel for channel, when in self._lingering.items() if when <= now and channel not in self._readers]
        for channel in gone:
            if self.feeds[channel].reading:
                continue
            del self._lingering[channel]
            self._touched.discard(self.feeds.pop(channel))
        return [channel for channel in gone if channel not in self.feeds]

    def reads(self, now: float) -> list[tuple[Feed, ReadRequest]]:
        """The reads to do in one round trip now; `resolved` or `failed` must follow."""
        due: list[tuple[Feed, ReadRequest]] = []
        if now < self._reads_from:
            return due
        for channel in list(self._reads_wanted):
            if len(due) == READS_AT_ONCE:
                break
            feed = self.feeds.get(channel)
            request = None if feed is None else feed.next_read()
            if feed is not None and request is not None:
                due.append((feed, request))
            self._reads_wanted.discard(channel)
        return due

    def next_read_at(self) -> float | None:
        """When to ask for `reads` again after a failure; None: no need."""
        return self._reads_from if self._reads_wanted else None

    def resolved(self, feed: Feed, page: Page) -> None:
        self._backoff = 0.0
        feed.resolve(page)
        self._touched.add(feed)
        self._reads_wanted.add(feed.channel)

    def failed(self, feeds: Iterable[Feed], now: float) -> None:
        """A read failed; it is tried again after a growing, jittered pause."""
        low, high = BACKOFF_SECONDS
        self._backoff = min(high, max(low, 2 * self._backoff))
        self._reads_from = now + self._backoff * CHANCE.uniform(0.5, 1.0)
        for feed in feeds:
            feed.fail()
            self._reads_wanted.add(feed.channel)

    def check_some(self, now: float) -> None:
        """Makes some of the quiet channels prove their position: a bounded number per tick.

        A live message proves that nothing is missing before it, so a busy channel is not read, which would hold its live
        entries up; it is read one tick after it has fallen silent.
        """
        left = CHECKS_PER_TICK
        for channel in list(islice(self._busy, BUSY_PER_TICK)):
            del self._busy[channel]
            left -= self._check(channel)
            if 2 * left <= CHECKS_PER_TICK:  # the other half is for those that are never busy
                break
        if not self._check_queue and now >= self._check_due:
            if self._check_round_began:
                self.checked_seconds = max(self._settings.check_seconds, now - self._check_round_began)
            self._check_round_began = now
            self._check_due = now + self._settings.check_seconds
            self._check_queue = [
                channel
                for channel in self._readers
                if channel not in self._busy and self._to_check(self.feeds[channel])
            ]
        for channel in self._check_queue[:left]:
            self._check(channel)
        del self._check_queue[:left]

    def _check(self, channel: str) -> bool:
        """Whether it must be read."""
        feed = self.feeds.get(channel)
        if feed is None or not self._to_check(feed):
            return False
        if feed.proven and feed.live:
            feed.proven = False
            self._busy[channel] = None
            return False
        feed.check()
        self._reads_wanted.add(channel)
        return True

    @staticmethod
    def _to_check(feed: Feed) -> bool:
        """What is stale is read anyway once it is confirmed; before that, only a check reads it."""
        return feed.live or not feed.confirmed
