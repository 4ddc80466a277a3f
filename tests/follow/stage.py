"""One hub state, a broker, and everything that may be late between them; steps by name, for random scripts."""

from __future__ import annotations

from typing import Any, get_args

from sse_bridge.config import Policy
from sse_bridge.events import END_TYPE
from sse_bridge.follow.cursor import Cursor
from sse_bridge.follow.feed import Feed
from sse_bridge.hub.state import HubState
from sse_bridge.records.codec import Announcement
from sse_bridge.records.continuity import Page
from tests.follow.model import SETTINGS, T0, Broker, CheckingReader, alone, id_of, settle

POLICIES: tuple[Policy, ...] = get_args(Policy)


def subscribe(state: HubState) -> list[str]:
    """Subscribes to what a hub would, which nothing confirms yet."""
    channels = list(state.to_subscribe)
    state.to_subscribe.clear()
    return channels


class Stage:
    """See the module. `number` picks a reader, a channel or a count, as each step says.

    Attributes:
        unheard: announcements that have not come from the link yet.
        under_way: answers to reads that have not come yet.
        entry_bytes: the size of what is published.
    """

    def __init__(self, channels: list[str], *, entry_bytes: int = 20, queue_size: int = 1000) -> None:
        self.channels = channels
        self.broker = Broker()
        self.state = HubState(SETTINGS)
        self.readers: list[CheckingReader] = []
        self.unheard: list[tuple[str, Announcement]] = []
        self.under_way: list[tuple[Feed, Page]] = []
        self.entry_bytes = entry_bytes
        self._queue_size = queue_size
        self._now = T0

    def enter(self, channels: list[str] | None = None, **options: Any) -> CheckingReader:
        options.setdefault("queue_size", self._queue_size)
        reader = CheckingReader(self.broker, self.state, channels or self.channels, **options)
        self.readers.append(reader)
        for channel in subscribe(self.state):
            self.state.confirmed(channel)
        return reader

    def do(self, step: str, number: int) -> None:
        getattr(self, step)(number)
        for feed in self.state.feeds.values():
            for cursor in feed.waiting():
                assert isinstance(cursor, Cursor)
                moved_on = cursor.ended or cursor.gap is not None or cursor.in_window or cursor.kept_bytes
                assert not moved_on, "it is still in the queue"

    def finish(self) -> None:
        """All that is late comes, the link is looked after, every position is checked, and everybody reads."""
        self.hear(len(self.unheard))
        self.answer(0)
        self.settle()
        for _ in range(3):  # a channel that was busy is read a tick later
            self.check(0)
            self.settle()
        for reader in self.readers:
            reader.check_settled()

    def settle(self) -> None:
        self.answer(0)
        settle(self.broker, self.state, self.readers)

    # the broker

    def publish(self, count: int) -> None:
        """Some events to every channel that is open; they are heard later."""
        for channel in self.channels:
            log = self.broker.log(channel)
            for _ in range(0 if log.closed else count):
                self.unheard.append((channel, alone(log.append(size=self.entry_bytes))))

    def end(self, number: int) -> None:
        channel = self._channel(number)
        log = self.broker.log(channel)
        if not log.closed:
            self.unheard.append((channel, alone(log.append(END_TYPE))))

    def flush(self, number: int) -> None:
        """The broker loses a log."""
        self.broker.flush(self._channel(number))

    def fail_over(self, number: int) -> None:
        """The newest entries are gone, perhaps an end among them; what was not heard of them never will be."""
        channel = self._channel(number)
        if self.broker.fail_over(channel, 1 + number // 2):
            self.unheard = [each for each in self.unheard if each[0] != channel]

    def trim(self, count: int) -> None:
        for channel in self.channels:
            self.broker.trim(channel, count)

    def evict(self, number: int) -> None:
        """Other windows need the room."""
        feed = self.state.feeds.get(self._channel(number))
        if feed is not None:
            feed.give_way(2 ** (2 * number), but_newest=bool(number % 2))

    # the link, and reads

    def hear(self, count: int) -> None:
        for channel, announcement in self.unheard[:count]:
            self.state.announced(channel, announcement)
        del self.unheard[:count]
        self.state.changed()

    def lose(self, _: int) -> None:
        """The link is lost and comes back; what was under way on it is gone."""
        self.unheard = []
        self.state.lost(None)
        for channel in self.state.feeds:
            self.state.confirmed(channel)

    def ask(self, _: int) -> None:
        self.under_way += [(feed, self.broker.log(feed.channel).read(request)) for feed, request in self._reads()]

    def answer(self, _: int) -> None:
        under_way, self.under_way = self.under_way, []
        for feed, page in under_way:
            self.state.resolved(feed, page)
        self.state.changed()

    def fail(self, _: int) -> None:
        self.state.failed([feed for feed, _ in self.under_way], T0 - 1000)
        self.under_way = []

    def check(self, _: int) -> None:
        self._now += 1000
        self.state.check_some(self._now)

    # readers

    def join(self, number: int) -> None:
        """A reader of one of the policies comes, and waits until it is told where the log stands."""
        self.enter(policy=POLICIES[number % len(POLICIES)]).pull(self.entry_bytes)

    def join_last(self, number: int) -> None:
        self.enter(last=1 + number).pull(self.entry_bytes)

    def join_lost(self, number: int) -> None:
        """With an id that is none of ours."""
        self.enter(after="no id of ours", eager=bool(number % 2)).pull(self.entry_bytes)

    def join_behind(self, number: int) -> None:
        """It comes from another process, which may know more of the channel than this one."""
        channel = self._channel(number)
        log = self.broker.log(channel)
        entry = log.chain.get(log.top - number // 2)
        if entry is not None:
            self.enter([channel], after=id_of(channel, entry)).pull(self.entry_bytes)

    def leave(self, number: int) -> None:
        if len(self.readers) > 1:
            self.readers.pop(number % len(self.readers)).leave()

    def cut(self, number: int) -> None:
        """A reader's connection is cut behind some frames of a write; it comes back with its last id."""
        self._reader(number).pull(10_000, cut_behind=number % 3)

    def come_back(self, number: int) -> None:
        self._reader(number).reconnect()

    def pull(self, _: int) -> None:
        for reader in self.readers:
            reader.pull(4 * self.entry_bytes)

    def pull_one(self, number: int) -> None:
        self._reader(number).pull(4 * self.entry_bytes)

    # inside

    def _reads(self) -> Any:
        return self.state.reads(T0)

    def _channel(self, number: int) -> str:
        return self.channels[number % len(self.channels)]

    def _reader(self, number: int) -> CheckingReader:
        return self.readers[number % len(self.readers)]
