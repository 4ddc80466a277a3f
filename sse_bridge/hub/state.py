"""The decisions of a hub, without I/O: feeds, their readers, and the subscriptions and reads that are due.

The drivers (loop.py, threads.py) call the state under their own serialisation, carry out its decisions, and
report the outcome. All decisions that both colours share stand here; time is an argument (seconds, monotonic).

On threads an exception out of a signal handler may end a call between two of its lines (see runtime/locks.py). So
attributes that must agree change in lines without a call, `leave` may be called again after it was ended early, and a
feed whose live message was applied in part begins anew behind its head.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol, cast

from ..config import Settings
from ..errors import BackendError, ConfigurationError, SSEBridgeError
from ..follow.batch import Batch, BatchCache, Step
from ..follow.cursor import Cursor
from ..follow.feed import Feed
from ..follow.follower import Follower
from ..follow.policies import Pace
from ..follow.subscribe_request import SubscribeRequest
from ..records.codec import Announcement
from ..records.continuity import Page, ReadRequest
from .schedule import PositionChecks, ReadQueue
from .tally import Tally
from .windows import WindowBudget, Windows

Read = tuple[Feed, ReadRequest]


class Reader(Protocol):
    """A reader or a group of shared readers that waits for deliveries; `wake` never blocks and may be called too often."""

    follower: Follower

    def wake(self) -> None: ...


class HubState:
    """See the module.

    Args:
        server_of: the server that answers for a channel, where there are several.

    Attributes:
        feeds: by channel, with readers or lingering.
        to_subscribe: the channels to subscribe to; the driver takes them out once it has.
        cache: batches shared by the followers of this hub.
        wanted: not empty while there may be something to read; see `ReadQueue`, like the next two.
        paused: not empty while a channel is in a pause after a failed read.
        next_read_at: returns the moment to call `reads` again.
        tally: counts what was lost; shared by the hubs of a bridge.
        windows: the memory of the feeds' windows, within a budget that is shared likewise.
    """

    def __init__(
        self,
        settings: Settings,
        tally: Tally | None = None,
        server_of: Callable[[str], Hashable] | None = None,
        budget: WindowBudget | None = None,
    ) -> None:
        self._settings = settings
        self.tally = tally or Tally()
        self.windows = Windows(budget or WindowBudget(settings.windows_max_bytes))
        self.feeds: dict[str, Feed] = {}
        self.cache = BatchCache()
        self._readers: defaultdict[str, set[Reader]] = defaultdict(set)
        self._lingering: dict[str, float] = {}  # by channel, the time to unsubscribe
        self.to_subscribe: dict[str, None] = {}
        self._torn: Feed | None = None  # the feed that a call is changing
        self._touched: set[Feed] = set()
        self._reads = ReadQueue(server_of)
        self.wanted = self._reads.wanted
        self.paused = self._reads.paused
        self.next_read_at = self._reads.next_at
        self._refusals: dict[str, BackendError | ConfigurationError] = {}
        self._served: set[Reader] = set()  # readers whose page has arrived
        self._checks = PositionChecks(settings.check_seconds, self.feeds)

    # readers

    def feed(self, channel: str) -> Feed:
        """The channel's feed, made and queued for subscription at its first use."""
        feed = self.feeds.get(channel)
        if feed is None:
            feed = Feed(channel, self._settings.window_bytes, self.tally)
            self.feeds[channel] = feed
            self.to_subscribe[channel] = None
            self._lingering[channel] = 0.0  # until its first reader has joined
        return feed

    def follower(
        self, request: SubscribeRequest, before: Follower | None = None, steps: Sequence[Step] | None = None
    ) -> Follower:
        """A follower for a reader's request; `join` must follow.

        Args:
            before: the follower that the new one replaces.
            steps: the positions of `before`; None: it had none.
        """
        cursors = []
        page_bytes = self._settings.max_write_bytes // len(request.channels)
        stood: Sequence[Step | None] = steps or [None] * len(request.channels)
        for channel, position, step in zip(request.channels, request.positions, stood, strict=True):
            feed, pace = self.feed(channel), Pace(request.policy, request.queue_size)
            at = position if step is None else None  # the step replaces the request's position, an end included
            cursor = Cursor(feed, request.start, at, request.invalid, request.filter, pace, page_bytes)
            if step is not None:
                cursor.point, cursor.ended = step.point, step.ended
            cursors.append(cursor)
        if before is not None:
            for cursor, old in zip(cursors, before.cursors, strict=True):
                cursor.dropped = old.dropped
        # Without replay a position frame saves its client one gap at most, so not each hidden entry is worth one.
        return Follower(cursors, request.filter, max(1, (self._settings.replay_size or 1000) // 4))

    def join(self, reader: Reader) -> None:
        """Lets the reader be woken when one of its channels may have a delivery for it."""
        for cursor in reader.follower.cursors:
            cursor.reader = reader
            self._readers[cursor.channel].add(reader)
            self._lingering.pop(cursor.channel, None)
            cursor.feed.read_at = self.windows.passes

    def leave(self, reader: Reader, now: float) -> None:
        """Removes a reader; its channels linger a while, since a reload reconnects at once. Idempotent."""
        for cursor in reader.follower.cursors:
            if cursor.reader is reader:  # not the group's cursors, which go on
                cursor.feed.forget(cursor)
                cursor.reader = None  # to leave no reference cycle
            readers = self._readers.get(cursor.channel)
            if readers is None:
                continue
            readers.discard(reader)
            if not readers:
                self._lingering[cursor.channel] = now + self._settings.linger_seconds
                del self._readers[cursor.channel]

    def readers(self) -> set[Reader]:
        return set().union(*self._readers.values()) if self._readers else set()

    def ready(self, follower: Follower) -> bool:
        """Whether every channel is subscribed and read; else the missing reads become due."""
        if self._torn is not None:
            self.mend()
        ready = follower.ready
        if not ready:
            self._want(follower)
        return ready

    def pull(self, follower: Follower, max_bytes: int, *, shared: bool = True) -> Batch | None:
        """The pending deliveries of a follower; None: wait, and carry out the reads that are due.

        Args:
            shared: other followers may stand in the same place and get the same batch.
        """
        if self._torn is not None:
            self.mend()
        batch = follower.pull(self.cache if shared else None, max_bytes)
        if batch is None:
            self._want(follower)
        return batch

    def mend(self) -> None:
        """Begins a feed anew whose change an exception ended early; its readers go on from the log."""
        feed = self._torn
        if feed is not None:
            feed.begin_anew()
            self._touched.add(feed)
            self._reads.want(feed.channel)
            self._torn = None

    def _want(self, follower: Follower) -> None:
        for cursor in follower.cursors:
            feed = cursor.feed
            if feed.confirmed and not feed.reading and not cursor.in_window:  # else `confirmed` and `resolved` want it
                self._reads.want(cursor.channel)

    # the upstream's calls (the hub is the Sink and passes them on)

    def announced(self, channel: str, announcement: Announcement | None) -> None:
        feed = self.feeds.get(channel)
        if feed is not None:
            if self._torn is not None:
                self.mend()
            self._torn = feed
            feed.announce(announcement)
            self._torn = None
            self._touched.add(feed)

    def confirmed(self, channel: str) -> None:
        if self._torn is not None:
            self.mend()
        feed = self.feeds.get(channel)
        if feed is not None:
            feed.confirm()
            self._refusals.pop(channel, None)
            self._reads.want(channel, now=True)

    def lost(self, channels: Sequence[str] | None, error: SSEBridgeError | None = None) -> bool:
        """Notes that the link is gone for these channels; False if that was known already.

        Args:
            error: the broker's lasting refusal; None: the link returns by itself.
        """
        feeds = [self.feeds[name] for name in (self.feeds if channels is None else channels) if name in self.feeds]
        news = any(feed.confirmed for feed in feeds)
        for feed in feeds:
            feed.lose()
            if error is not None:
                self._refuse(feed, error)
        if news:
            self.tally.link_lost()
        return news

    def changed(self) -> set[Reader]:
        """The readers to wake, since their page has arrived or a feed of theirs has changed, since the last call."""
        if self._torn is not None:
            self.mend()
        woken = set(self._served) if self._served else set()
        windows, cache, touched = self.windows, self.cache, self._touched
        windows.passes = this_pass = windows.passes + 1
        for feed in touched:
            if feed.stale:
                self._reads.want(feed.channel)
            version = feed.version
            if version != feed.told_version:
                feed.told_version = version
                if cache.size:
                    cache.clear()
                readers = self._readers.get(feed.channel)
                if readers:
                    woken |= readers
                    feed.read_at = this_pass
            window = feed.window
            # `feed.size`, whose two properties would cost a twentieth of a hub's work for an event.
            size = feed.aside_bytes if window is None else window.items.size + window.evicted.size + feed.aside_bytes
            windows.used += size - feed.counted
            feed.counted = size
        touched.clear()
        if self._served:
            self._served.clear()
        if windows.used > windows.budget.part:
            self._make_room()
        return woken

    def _make_room(self) -> None:
        """Lets windows give way while all together hold too much."""
        windows = self.windows
        excess = windows.budget.excess(windows.used)
        while excess > 0 and (feed := windows.quietest(self.feeds)) is not None:
            self._torn = feed
            excess -= windows.shrink(feed, excess)
            self._torn = None
            if feed.window is not None and not feed.window.items:
                for reader in self._readers.get(feed.channel, ()):
                    reader.follower.forget_entries()  # a cursor would keep its last entry in memory

    # decisions for the driver

    def unsubscribes(self, now: float) -> list[str]:
        """Takes out the channels whose last reader left long enough ago."""
        gone = [channel for channel, when in self._lingering.items() if when <= now and channel not in self._readers]
        for channel in gone:
            if self.feeds[channel].reading:
                continue
            del self._lingering[channel]
            self.to_subscribe.pop(channel, None)
            feed = self.feeds.pop(channel)
            self._touched.discard(feed)
            self.windows.forget(feed)
            self._reads.ended(channel)
            self._refusals.pop(channel, None)
            self.cache.clear()  # a later window of the channel counts its serials anew
        return [channel for channel in gone if channel not in self.feeds]

    def reads(self, now: float) -> list[Read]:
        """The reads to do in one round trip now; `settle` must follow."""
        if self._torn is not None:
            self.mend()
        return self._reads.trip(now, self._next_read)

    def _next_read(self, channel: str) -> Read | None:
        feed = self.feeds.get(channel)
        if feed is None or (request := feed.next_read()) is None:
            return None
        return feed, request

    @property
    def reads_due(self) -> bool:
        """Whether `reads` would find a read now, apart from channels in a pause."""
        return bool(self.wanted) and self._reads.has_due

    def settle(self, due: Sequence[Read], outcomes: Sequence[Page | SSEBridgeError], now: float) -> str | None:
        """Takes the outcomes of a round trip, one per channel; returns the text to log, under no lock."""
        failed = []
        for (feed, _), outcome in zip(due, outcomes, strict=True):
            if not isinstance(outcome, SSEBridgeError):
                self.resolved(feed, outcome)
            elif self._failed(feed, now, outcome):
                failed.append(f"{feed.channel!r}: {outcome}")
        if not failed:
            return None
        return f"reading the log failed for {len(failed)} of {len(due)} channels and is tried again; of {failed[0]}"

    def resolved(self, feed: Feed, page: Page) -> None:
        if self._torn is not None:
            self.mend()
        self._reads.ended(feed.channel)
        self._refusals.pop(feed.channel, None)
        for waiter in feed.resolve(page):
            reader = cast(Cursor, waiter).reader
            if reader is not None:  # else the cursor's follower has not joined
                self._served.add(cast(Reader, reader))
        self._touched.add(feed)
        if feed.stale or feed.waiting():
            self._reads.want(feed.channel)

    def failed(self, feeds: Iterable[Feed], now: float, error: BaseException | None = None) -> None:
        """Notes failed reads, each of which is tried again after a pause of its own."""
        for feed in feeds:
            self._failed(feed, now, error)

    def _failed(self, feed: Feed, now: float, error: BaseException | None) -> bool:
        """Whether this is the channel's first failure."""
        feed.fail()
        if error is not None:
            self._refuse(feed, error)
        return self._reads.failed(feed.channel, now)

    def refusal(self, follower: Follower) -> SSEBridgeError | None:
        """The broker's lasting refusal of one of the follower's channels; None: none is known."""
        if not self._refusals:
            return None
        return next((e for c in follower.cursors if (e := self._refusals.get(c.channel)) is not None), None)

    def _refuse(self, feed: Feed, error: BaseException) -> None:
        """Notes an error that no retry would change, and wakes the channel's readers."""
        if isinstance(error, ConfigurationError) or (isinstance(error, BackendError) and error.permanent):
            if feed.channel not in self._refusals:
                feed.version += 1
                self._touched.add(feed)
            self._refusals[feed.channel] = error

    def check_some(self, now: float) -> None:
        """Makes some of the quiet channels prove their position, and windows give way to those of another hub."""
        if self.windows.used > self.windows.budget.part:
            self._make_room()
        due = self._checks.due(now, self._readers)
        if self._checks.begins:
            self.windows.recount(self.feeds)
        for feed in due:
            feed.check()
            self._reads.want(feed.channel)
