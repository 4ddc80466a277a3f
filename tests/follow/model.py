"""A broker in plain Python that loses things on command, and readers that check every step they are shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from sse_bridge.config import Settings
from sse_bridge.events import GENESIS, Entry, Position, channel_key, new_token
from sse_bridge.filters import Filter
from sse_bridge.follow.feed import Feed
from sse_bridge.follow.follower import END, ENTRY, GAP, Delivery
from sse_bridge.follow.page import Page, Point, ReadRequest
from sse_bridge.follow.wish import make_wish
from sse_bridge.hub.switchboard import Switchboard
from sse_bridge.records import Announcement, decode_announcement, record_of

SETTINGS = Settings(replay_size=40, window_bytes=4096, linger_seconds=1000, max_channels=80)
T0 = 1000.0


@dataclass
class Log:
    """One channel on the broker. `chain` is the true history of this epoch by offset; `entries` what is retained."""

    epoch: bytes = field(default_factory=new_token)
    top: int = 0
    check: bytes = GENESIS
    closed: bool = False
    entries: dict[int, Entry] = field(default_factory=dict)
    chain: dict[int, Entry] = field(default_factory=dict)
    foreign: set[int] = field(default_factory=set)
    overruns: int = 0  # entries trimmed by appends

    def append(self, type: str = "t", visibility: str = "u", size: int = 20) -> Entry:
        check = new_token()
        entry = Entry(self.epoch, self.top + 1, self.check, check, self.top, visibility, "J", type, b"1" * size)
        self.top, self.check = entry.offset, check
        self.entries[entry.offset] = self.chain[entry.offset] = entry
        if entry.is_end:
            self.closed = True
        while len(self.entries) + len(self.foreign) > SETTINGS.replay_size:
            self.trim(1)
            self.overruns += 1
        return entry

    def ephemeral(self) -> Entry:
        return Entry(self.epoch, self.top, self.check, new_token(), self.top, "l", "J", "t", b"1", stored=False)

    @property
    def first(self) -> int:
        return min([*self.entries, *self.foreign], default=self.top + 1)

    def trim(self, count: int) -> None:
        for offset in sorted([*self.entries, *self.foreign])[:count]:
            self.entries.pop(offset, None)
            self.foreign.discard(offset)

    def poison(self, offset: int) -> None:
        """Somebody overwrites a record with bytes of their own."""
        if self.entries.pop(offset, None):
            self.foreign.add(offset)

    def read(self, request: ReadRequest) -> Page:
        first = self.first
        if request.limit == 0:
            return Page(self.epoch, self.top, self.check, self.closed, first, self.top + 1, [], False)
        wanted = request.offset + 1
        if request.offset < 0:
            wanted = self.top + request.offset + 1
        elif request.epoch is not None and request.epoch != self.epoch:
            wanted = 1
        start = max(first, wanted)
        limit = min(request.limit, 7)  # small pages, so that paging is exercised
        offsets = [o for o in sorted([*self.entries, *self.foreign]) if o >= start]
        found = [self.entries[o] for o in offsets[:limit] if o in self.entries]
        return Page(self.epoch, self.top, self.check, self.closed, first, start, found, len(offsets) > limit)


class Broker:
    """Logs by channel, a link that may be down, and a count of what was lost on each channel."""

    def __init__(self) -> None:
        self.logs: dict[str, Log] = {}
        self.losses: dict[str, int] = {}

    def log(self, channel: str) -> Log:
        return self.logs.setdefault(channel, Log())

    def lose(self, channel: str) -> None:
        self.losses[channel] = self.losses.get(channel, 0) + 1

    def flush(self, channel: str) -> None:
        self.logs[channel] = Log()
        self.lose(channel)

    def fail_over(self, channel: str, lost: int) -> bool:
        """The last entries are gone; nothing else that a client can see changes."""
        log = self.log(channel)
        if log.top - lost < 0 or (log.top - lost and log.top - lost not in log.chain):
            return False
        for offset in range(log.top - lost + 1, log.top + 1):
            log.entries.pop(offset, None)
            log.foreign.discard(offset)
            log.chain.pop(offset, None)
        log.top -= lost
        log.check = log.chain[log.top].check if log.top else GENESIS
        self.lose(channel)
        return True


class CheckingReader:
    """Pulls from a switchboard, and fails at the first step that does not continue the one before."""

    def __init__(
        self,
        broker: Broker,
        board: Switchboard,
        channels: list[str],
        after: str | None = None,
        start: str | None = None,
        filter: Filter | None = None,
        last: int | None = None,
    ) -> None:
        self.broker = broker
        self.board = board
        self.filter = filter
        self.channels = channels
        wish = make_wish(SETTINGS, channels, after=after, start=start, filter=filter, last=last)
        self.follower = board.follower(wish)
        board.join(self)
        self.woken = 0
        self.seen: dict[str, list[tuple[bytes, int, bytes]]] = {channel: [] for channel in channels}
        self.at: dict[str, Point | None] = dict.fromkeys(channels)
        self.gaps: dict[str, int] = dict.fromkeys(channels, 0)
        self.last_id: str | None = after
        self.opened = False

    def wake(self) -> None:
        self.woken += 1

    def pull(self, max_bytes: int) -> bool:
        if not self.opened:
            if not self.board.ready(self.follower):
                return False
            self.opened = True
            for cursor in self.follower.cursors:
                self.at[cursor.channel] = None if cursor.point is None else _plain(cursor.point)
        batch = self.board.pull(self.follower, max_bytes)
        if batch is None:
            return False
        assert batch.deliveries, "an empty batch is no news"
        for delivery in batch.deliveries:
            self._check(delivery)
        return True

    def _check(self, delivery: Delivery) -> None:
        channel = delivery.channel
        if delivery.id is not None:
            self.last_id = delivery.id.decode()
        if delivery.kind == GAP:
            gap = delivery.gap
            assert gap is not None
            self.gaps[channel] += 1
            at = self.at[channel]
            if gap.missed is not None:
                assert at is not None
                assert at.epoch == gap.after.epoch
                chain = self.broker.log(channel).chain
                hidden = [chain[o] for o in range(at.offset + 1, gap.after.offset + 1)]
                shown = [e for e in hidden if self.filter is None or self.filter.matches(channel, e)]
                assert gap.missed == len(shown), (gap, at)
            self.at[channel] = gap.after
        elif delivery.kind == ENTRY:
            entry = delivery.entry
            assert entry is not None
            at = self.at[channel]
            if not entry.stored:
                assert delivery.id is None
                assert self.filter is not None or at == Point(entry.epoch, entry.offset, entry.prev)
                return
            if self.filter is None:
                assert at is not None
                assert (entry.epoch, entry.offset, entry.prev) == (at.epoch, at.offset + 1, at.check), (at, entry)
            else:
                assert self.filter.matches(channel, entry) or entry.is_end
                assert at is None or at.epoch != entry.epoch or entry.offset > at.offset
            mark = (entry.epoch, entry.offset, entry.check)
            assert mark not in self.seen[channel], f"{mark} came twice"
            self.seen[channel].append(mark)
            self.at[channel] = _plain(entry)
        else:
            assert delivery.kind == END or delivery.channel == ""

    def check_settled(self) -> None:
        """Nothing is under way any more: it stands at the head, and told no gap without a loss."""
        for cursor in self.follower.cursors:
            log = self.broker.log(cursor.channel)
            assert cursor.point is not None
            if cursor.ended and (cursor.point.epoch != log.epoch or not log.closed):
                continue  # it saw an end that the broker lost afterwards
            assert (cursor.point.epoch, cursor.point.offset, cursor.point.check) == (log.epoch, log.top, log.check)
            # losses of before it joined count too: it may meet them in the log, or in what this process still believed
            assert self.gaps[cursor.channel] <= self.broker.losses.get(cursor.channel, 0) + log.overruns
            assert cursor.ended == log.closed

    def leave(self) -> None:
        self.board.leave(self, T0)


def announce(board: Switchboard, channel: str, log: Log, entries: list[Entry], *, with_copy: bool = True) -> None:
    if with_copy and len(entries) == 1:
        board.announced(channel, alone(entries[0]))
    else:
        board.announced(channel, Announcement(log.epoch, log.top, entries if with_copy else []))


def alone(entry: Entry) -> Announcement:
    """The announcement of one entry, as it comes from the link: without an epoch, but for the first of one."""
    if entry.prev == GENESIS:
        return Announcement(entry.epoch, entry.offset, [entry])
    return decode_announcement(record_of(entry))


def settle(broker: Broker, board: Switchboard, readers: list[CheckingReader]) -> None:
    """Lets every read and every reader finish; fails if that takes absurdly long."""
    for round_ in range(1000):
        busy = False
        for reader in readers:
            while reader.pull(10_000):
                busy = True
        due = board.reads(T0)
        for feed, request in due:
            busy = True
            board.resolved(feed, broker.log(feed.channel).read(request))
        board.changed()
        board.cache.clear()
        if not busy:
            return
        assert round_ < 990, "reads never come to an end"


def id_of(channel: str, entry: Entry) -> str:
    """What a reader that has seen this entry sends."""
    return str(Position(channel_key(channel).decode(), entry.epoch.decode(), entry.offset, entry.check.decode()))


def confirmed_feeds(board: Switchboard) -> list[Feed]:
    return [feed for feed in board.feeds.values() if feed.confirmed]


def _plain(point: Point | Entry) -> Point:
    return Point(point.epoch, point.offset, point.check)
