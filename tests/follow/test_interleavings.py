"""Random interleavings of publish, replay, live, trim, epoch change, failover and slow reading (guarantees 1, 2, 3)."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from sse_bridge.config import Policy
from sse_bridge.events import END_TYPE
from sse_bridge.filters import PUBLIC, ByType, Filter
from sse_bridge.follow import window
from sse_bridge.follow.cursor import Cursor
from sse_bridge.follow.feed import Feed
from sse_bridge.hub.state import HubState
from sse_bridge.hub.windows import WindowBudget
from sse_bridge.records.codec import Announcement
from sse_bridge.records.continuity import Page

from .model import SETTINGS, T0, Broker, CheckingReader, alone, announce, confirmed_feeds, id_of, settle
from .stage import subscribe

CHANNELS = ["a", "b"]
ONE_FRAME = 120  # of the model's entries; one is kept however little may be
channels = st.sampled_from(CHANNELS)


class Interleavings(RuleBasedStateMachine):
    """The machine: a broker that loses things, one hub state, any number of readers that check every step."""

    readers = Bundle("readers")

    @initialize(
        packing=st.sampled_from([(1, 32, 50), (2, 3, 50), (1, 3, 700)]),
        windows_bytes=st.sampled_from([10**9, 10**9, 2000, 400, 0]),
    )
    def begin(self, packing: tuple[int, int, int], windows_bytes: int) -> None:
        self.sizes = (window.KEPT, window.CHUNK, window.RECORD_BYTES)
        # as they are, few entries would ever be packed
        window.KEPT, window.CHUNK, window.RECORD_BYTES = packing
        self.broker = Broker()
        self.state = HubState(SETTINGS, budget=WindowBudget(windows_bytes))
        self.link_up = True
        self.active: list[CheckingReader] = []
        self.under_way: list[tuple[Feed, Page]] = []
        self.subscribed: set[str] = set()
        self.in_the_air: list[tuple[str, Announcement]] = []

    # publishing

    @rule(
        channel=channels,
        kinds=st.lists(st.sampled_from("uumi"), min_size=1, max_size=12),
        heard=st.sampled_from(["all", "all", "late", "late", "position", "none"]),
        together=st.booleans(),
    )
    def publish(self, channel: str, kinds: list[str], heard: str, together: bool) -> None:
        log = self.broker.log(channel)
        if log.closed:
            return
        entries = [log.append("order" if kind == "u" else "other", kind) for kind in kinds]
        if heard == "none" or not self.link_up or channel not in self.subscribed:
            return
        if heard == "late":
            self.in_the_air += [(channel, alone(entry)) for entry in entries]
        elif together:
            announce(self.state, channel, log, entries, with_copy=heard == "all")
        else:
            for entry in entries:
                top = log.top
                log.top = entry.offset
                announce(self.state, channel, log, [entry], with_copy=heard == "all")
                log.top = top
        self._flush()

    @rule(count=st.integers(1, 8))
    def hear(self, count: int) -> None:
        """Announcements come after what a read of the log may have seen already."""
        for channel, announcement in self.in_the_air[:count]:
            self.state.announced(channel, announcement)
        del self.in_the_air[:count]
        self._flush()

    @rule(channel=channels, count=st.integers(1, 3))
    def publish_ephemerals(self, channel: str, count: int) -> None:
        log = self.broker.log(channel)
        if not log.closed and self.link_up and channel in self.subscribed:
            for _ in range(count):
                announce(self.state, channel, log, [log.ephemeral()])
            self._flush()

    @rule(channel=channels)
    def publish_the_end(self, channel: str) -> None:
        log = self.broker.log(channel)
        if not log.closed:
            entry = log.append(END_TYPE)
            if self.link_up and channel in self.subscribed:
                announce(self.state, channel, log, [entry])
                self._flush()

    # losing

    @rule(channel=channels, count=st.integers(1, 60))
    def trim(self, channel: str, count: int) -> None:
        self.broker.trim(channel, count)

    @rule(channel=channels)
    def flush_the_broker(self, channel: str) -> None:
        self.broker.flush(channel)

    @rule(channel=channels, lost=st.integers(1, 6), again=st.integers(0, 8), heard=st.booleans())
    def fail_over(self, channel: str, lost: int, again: int, heard: bool) -> None:
        """A replica that lacks the last entries becomes the master, and others take their offsets."""
        log = self.broker.log(channel)
        if not self.broker.fail_over(channel, lost):
            return
        for _ in range(0 if log.closed else again):
            entry = log.append("order")
            if heard and self.link_up and channel in self.subscribed:
                announce(self.state, channel, log, [entry])
        self._flush()

    @rule(channel=channels, back=st.integers(0, 20))
    def poison(self, channel: str, back: int) -> None:
        self.broker.poison(channel, self.broker.log(channel).top - back)

    # the link

    @rule()
    def lose_the_link(self) -> None:
        self.link_up = False
        self.in_the_air.clear()
        self.state.lost(None)

    @rule()
    def lose_the_link_silently(self) -> None:
        self.link_up = False
        self.in_the_air.clear()

    @rule()
    def link_comes_back(self) -> None:
        self.link_up = True
        for channel in list(self.subscribed):
            self.state.confirmed(channel)
        self._subscribe()

    # memory

    @rule(channel=channels, wanted=st.sampled_from([1, 300, 2000, 10**6]), but_newest=st.booleans())
    def evict(self, channel: str, wanted: int, but_newest: bool) -> None:
        """Other windows need the room, at any moment."""
        feed = self.state.feeds.get(channel)
        if feed is not None:
            feed.give_way(wanted, but_newest=but_newest)
            assert wanted < 10**6 or but_newest or feed.size == 0

    @invariant()
    def counts_what_windows_hold(self) -> None:
        if hasattr(self, "state"):
            assert self.state.windows.used == sum([feed.counted for feed in self.state.feeds.values()])

    # reads of the log

    @rule()
    def begin_reads(self) -> None:
        for feed, request in self.state.reads(T0):
            self.under_way.append((feed, self.broker.log(feed.channel).read(request)))

    @rule(which=st.integers(0, 3), fails=st.sampled_from([False, False, True]))
    def finish_a_read(self, which: int, fails: bool) -> None:
        """Answers come late, and in any order."""
        if self.under_way:
            feed, page = self.under_way.pop(which % len(self.under_way))
            if fails:
                self.state.failed([feed], T0 - 1000)
            else:
                self.state.resolved(feed, page)
            self._flush()

    @invariant()
    def who_waits_stands_still(self) -> None:
        """A cursor in the queue has nothing else to go on with: an answer to it is the answer to what it asked."""
        if hasattr(self, "state"):
            for feed in self.state.feeds.values():
                for cursor in feed.waiting():
                    assert isinstance(cursor, Cursor)
                    assert (cursor.ended, cursor.gap, cursor.in_window, cursor.kept_bytes) == (False, None, False, 0)

    @rule()
    def tick(self) -> None:
        self.state.check_some(T0)

    # reading

    @rule(
        target=readers,
        wanted=st.lists(channels, min_size=1, max_size=2, unique=True),
        start=st.sampled_from([None, "now", "earliest"]),
        last=st.sampled_from([None, None, 3, 60]),
        filter=st.sampled_from([None, None, PUBLIC, ByType("order")]),
        policy=st.sampled_from(["catch_up", *get_args(Policy)]),
        queue_size=st.integers(1, 12),
        after=st.sampled_from([None, None, "no id of ours"]),
        eager=st.booleans(),
    )
    def join(self, wanted: list[str], **options: Any) -> CheckingReader:
        return self._enter(CheckingReader(self.broker, self.state, wanted, **options))

    @rule(reader=readers)
    def reconnect(self, reader: CheckingReader) -> None:
        """It is cut off and comes back with the last id it saw."""
        if reader in self.active:
            reader.reconnect()

    @rule(reader=readers, behind=st.integers(0, 4), max_bytes=st.sampled_from([1, 500, 10_000]))
    def cut(self, reader: CheckingReader, behind: int, max_bytes: int) -> None:
        """The same, between two frames of one write."""
        if reader in self.active:
            reader.pull(max_bytes, cut_behind=behind)

    @rule(reader=readers)
    def leave(self, reader: CheckingReader) -> None:
        if reader in self.active:
            reader.leave()
            self.active.remove(reader)

    @rule(target=readers, channel=channels, back=st.integers(0, 6), filter=st.sampled_from([None, PUBLIC]))
    def come_from_another_process(self, channel: str, back: int, filter: Filter | None) -> object:
        """Its last event may be one that this process has not heard of yet."""
        log = self.broker.log(channel)
        entry = log.chain.get(log.top - back)
        if entry is None:
            return multiple()
        return self._enter(CheckingReader(self.broker, self.state, [channel], id_of(channel, entry), None, filter))

    @rule(reader=readers, max_bytes=st.sampled_from([1, 500, 10_000]), times=st.integers(1, 4))
    def pull(self, reader: CheckingReader, max_bytes: int, times: int) -> None:
        if reader in self.active:
            for _ in range(times):
                reader.pull(max_bytes)

    @invariant()
    def keeps_little_of_a_page(self) -> None:
        for reader in getattr(self, "active", []):
            kept = [cursor.kept_bytes for cursor in reader.follower.cursors]
            assert sum([size for size in kept if size > ONE_FRAME]) <= reader.allowed

    def teardown(self) -> None:
        if not hasattr(self, "state"):
            return
        try:
            while self.under_way:
                self.finish_a_read(0, False)
            self.link_comes_back()
            settle(self.broker, self.state, self.active)
            for reader in self.active:
                reader.check_settled()
        finally:
            window.KEPT, window.CHUNK, window.RECORD_BYTES = self.sizes

    # inside

    def _enter(self, reader: CheckingReader) -> CheckingReader:
        self.active.append(reader)
        if self.link_up:
            self._subscribe()
        return reader

    def _subscribe(self) -> None:
        for channel in subscribe(self.state):
            self.subscribed.add(channel)
            self.state.confirmed(channel)
        assert len(confirmed_feeds(self.state)) == len(self.state.feeds)

    def _flush(self) -> None:
        self.state.changed()


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
