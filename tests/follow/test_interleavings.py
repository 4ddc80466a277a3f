"""Random interleavings of publish, replay, live, trim, epoch change, failover and slow reading (guarantees 1, 2, 3)."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

from sse_bridge.events import END_TYPE
from sse_bridge.filters import PUBLIC, ByType, Filter
from sse_bridge.follow import shelf
from sse_bridge.follow.feed import Feed
from sse_bridge.follow.page import Page
from sse_bridge.hub.switchboard import Switchboard
from sse_bridge.records import Announcement

from .model import SETTINGS, T0, Broker, CheckingReader, alone, announce, confirmed_feeds, id_of, settle

CHANNELS = ["a", "b"]
channels = st.sampled_from(CHANNELS)


class Interleavings(RuleBasedStateMachine):
    """The machine: a broker that loses things, one switchboard, any number of readers that check every step."""

    readers = Bundle("readers")

    @initialize(packing=st.sampled_from([(1, 32, 50), (2, 3, 50), (1, 3, 700)]))
    def begin(self, packing: tuple[int, int, int]) -> None:
        self.sizes = (shelf.KEPT, shelf.CHUNK, shelf.RECORD_BYTES)
        shelf.KEPT, shelf.CHUNK, shelf.RECORD_BYTES = packing  # as they are, few entries would ever be packed
        self.broker = Broker()
        self.board = Switchboard(SETTINGS)
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
            announce(self.board, channel, log, entries, with_copy=heard == "all")
        else:
            for entry in entries:
                top = log.top
                log.top = entry.offset
                announce(self.board, channel, log, [entry], with_copy=heard == "all")
                log.top = top
        self._flush()

    @rule(count=st.integers(1, 8))
    def hear(self, count: int) -> None:
        """Announcements come after what a read of the log may have seen already."""
        for channel, announcement in self.in_the_air[:count]:
            self.board.announced(channel, announcement)
        del self.in_the_air[:count]
        self._flush()

    @rule(channel=channels, count=st.integers(1, 3))
    def publish_ephemerals(self, channel: str, count: int) -> None:
        log = self.broker.log(channel)
        if not log.closed and self.link_up and channel in self.subscribed:
            for _ in range(count):
                announce(self.board, channel, log, [log.ephemeral()])
            self._flush()

    @rule(channel=channels)
    def publish_the_end(self, channel: str) -> None:
        log = self.broker.log(channel)
        if not log.closed:
            entry = log.append(END_TYPE)
            if self.link_up and channel in self.subscribed:
                announce(self.board, channel, log, [entry])
                self._flush()

    # losing

    @rule(channel=channels, count=st.integers(1, 60))
    def trim(self, channel: str, count: int) -> None:
        self.broker.log(channel).trim(count)
        self.broker.lose(channel)

    @rule(channel=channels)
    def flush_the_broker(self, channel: str) -> None:
        self.broker.flush(channel)

    @rule(channel=channels, lost=st.integers(1, 6), again=st.integers(0, 8), heard=st.booleans())
    def fail_over(self, channel: str, lost: int, again: int, heard: bool) -> None:
        """A replica that lacks the last entries becomes the master, and others take their offsets."""
        log = self.broker.log(channel)
        if log.closed or not self.broker.fail_over(channel, lost):
            return
        for _ in range(again):
            entry = log.append("order")
            if heard and self.link_up and channel in self.subscribed:
                announce(self.board, channel, log, [entry])
        self._flush()

    @rule(channel=channels, back=st.integers(0, 20))
    def poison(self, channel: str, back: int) -> None:
        log = self.broker.log(channel)
        log.poison(log.top - back)
        self.broker.lose(channel)

    # the link

    @rule()
    def lose_the_link(self) -> None:
        self.link_up = False
        self.in_the_air.clear()
        self.board.lost(None)

    @rule()
    def lose_the_link_silently(self) -> None:
        self.link_up = False
        self.in_the_air.clear()

    @rule()
    def link_comes_back(self) -> None:
        self.link_up = True
        for channel in list(self.subscribed):
            self.board.confirmed(channel)
        self._subscribe()

    # reads of the log

    @rule()
    def begin_reads(self) -> None:
        for feed, request in self.board.reads(T0):
            self.under_way.append((feed, self.broker.log(feed.channel).read(request)))

    @rule(fails=st.booleans())
    def finish_reads(self, fails: bool) -> None:
        under_way, self.under_way = self.under_way, []
        for feed, page in under_way:
            if fails:
                feed.fail()
                self.board.failed([feed], T0 - 1000)
            else:
                self.board.resolved(feed, page)
        self._flush()

    @rule()
    def tick(self) -> None:
        self.board.check_some(T0)

    # reading

    @rule(
        target=readers,
        wanted=st.lists(channels, min_size=1, max_size=2, unique=True),
        start=st.sampled_from([None, "now", "earliest"]),
        last=st.sampled_from([None, None, 3, 60]),
        filter=st.sampled_from([None, None, PUBLIC, ByType("order")]),
    )
    def join(self, wanted: list[str], start: str | None, last: int | None, filter: Filter | None) -> CheckingReader:
        return self._enter(CheckingReader(self.broker, self.board, wanted, None, start, filter, last))

    @rule(target=readers, reader=readers)
    def reconnect(self, reader: CheckingReader) -> object:
        """It is cut off and comes back with the last id it saw."""
        if reader not in self.active:
            return multiple()
        reader.leave()
        self.active.remove(reader)
        again = CheckingReader(self.broker, self.board, reader.channels, reader.last_id, None, reader.filter)
        again.seen = reader.seen
        again.gaps = reader.gaps
        return self._enter(again)

    @rule(target=readers, channel=channels, back=st.integers(0, 6), filter=st.sampled_from([None, PUBLIC]))
    def come_from_another_process(self, channel: str, back: int, filter: Filter | None) -> object:
        """Its last event may be one that this process has not heard of yet."""
        log = self.broker.log(channel)
        entry = log.chain.get(log.top - back)
        if entry is None or entry.is_end:
            return multiple()
        return self._enter(CheckingReader(self.broker, self.board, [channel], id_of(channel, entry), None, filter))

    @rule(reader=readers, max_bytes=st.sampled_from([1, 500, 10_000]), times=st.integers(1, 4))
    def pull(self, reader: CheckingReader, max_bytes: int, times: int) -> None:
        if reader in self.active:
            for _ in range(times):
                reader.pull(max_bytes)

    def teardown(self) -> None:
        if not hasattr(self, "board"):
            return
        try:
            self.finish_reads(False)
            self.link_comes_back()
            settle(self.broker, self.board, self.active)
            for reader in self.active:
                reader.check_settled()
        finally:
            shelf.KEPT, shelf.CHUNK, shelf.RECORD_BYTES = self.sizes

    # inside

    def _enter(self, reader: CheckingReader) -> CheckingReader:
        self.active.append(reader)
        if self.link_up:
            self._subscribe()
        return reader

    def _subscribe(self) -> None:
        for channel in self.board.subscribes():
            self.subscribed.add(channel)
            self.board.confirmed(channel)
        assert len(confirmed_feeds(self.board)) == len(self.board.feeds)

    def _flush(self) -> None:
        self.board.changed()


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
