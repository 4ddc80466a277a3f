"""A broker in plain Python that loses things on command, and readers that check every step they are shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from sse_bridge.config import Policy, Settings
from sse_bridge.errors import SlowReader
from sse_bridge.events import GENESIS, NO_EPOCH, Entry, Position, channel_key, new_token
from sse_bridge.filters import Filter
from sse_bridge.follow.batch import END, ENTRY, GAP, Delivery
from sse_bridge.follow.feed import Feed
from sse_bridge.follow.subscribe_request import make_request
from sse_bridge.hub.state import HubState
from sse_bridge.records.codec import Announcement, decode_announcement, parse_id, record_of
from sse_bridge.records.continuity import Gap, Page, Point, ReadRequest, end_stands, in_life

SETTINGS = Settings(replay_size=40, window_bytes=4096, linger_seconds=1000, max_channels=80, max_write_bytes=1024)
T0 = 1000.0


@dataclass
class Log:
    """One channel on the broker.

    Attributes:
        entries: what is retained, by offset.
        chain: the true history of this epoch, by offset.
        ever: every entry that there ever was, by epoch, offset and check.
        born: their numbers in the order of their appends, by check.
        overruns: entries trimmed by appends, in all epochs.
    """

    epoch: bytes = NO_EPOCH
    top: int = 0
    check: bytes = GENESIS
    closed: bool = False
    entries: dict[int, Entry] = field(default_factory=dict)
    chain: dict[int, Entry] = field(default_factory=dict)
    foreign: set[int] = field(default_factory=set)
    overruns: int = 0
    ever: dict[tuple[bytes, int, bytes], Entry] = field(default_factory=dict)
    born: dict[bytes, int] = field(default_factory=dict)

    def append(self, type: str = "t", visibility: str = "u", size: int = 20) -> Entry:
        check = new_token()
        if self.epoch == NO_EPOCH:
            self.epoch = check
        entry = Entry(self.epoch, self.top + 1, self.check, check, self.top, visibility, "J", type, b"1" * size)
        self.top, self.check = entry.offset, check
        self.entries[entry.offset] = self.chain[entry.offset] = self.ever[self.epoch, entry.offset, check] = entry
        self.born[check] = len(self.born)
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
        found: list[Entry] = []
        seen = size = 0
        while seen < min(limit, len(offsets)) and size <= request.max_bytes:
            if (entry := self.entries.get(offsets[seen])) is not None:
                found.append(entry)
                size += len(record_of(entry))
            seen += 1
        return Page(self.epoch, self.top, self.check, self.closed, first, start, found, len(offsets) > seen)


class Broker:
    """Logs by channel, a link that may be down, and what was lost on each channel."""

    def __init__(self) -> None:
        self.logs: dict[str, Log] = {}
        self.losses: dict[str, int] = {}
        self.causes: dict[str, set[str]] = {}

    def log(self, channel: str) -> Log:
        return self.logs.setdefault(channel, Log())

    def lose(self, channel: str, cause: str) -> None:
        self.losses[channel] = self.losses.get(channel, 0) + 1
        self.causes.setdefault(channel, set()).add(cause)

    def explains(self, channel: str, reason: str) -> bool:
        """Whether something happened to the channel that a gap of this reason tells."""
        if CAUSES[reason] & self.causes.get(channel, set()):
            return True
        return reason in ("trimmed", "slow") and self.log(channel).overruns > 0

    def flush(self, channel: str) -> None:
        before = self.log(channel)
        self.logs[channel] = Log(ever=before.ever, born=before.born, overruns=before.overruns)
        self.lose(channel, "flush")

    def trim(self, channel: str, count: int) -> None:
        self.log(channel).trim(count)
        self.lose(channel, "trim")

    def poison(self, channel: str, offset: int) -> None:
        self.log(channel).poison(offset)
        self.lose(channel, "poison")

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
        log.epoch = log.epoch if log.top else NO_EPOCH
        log.closed = bool(log.top) and log.chain[log.top].is_end
        self.lose(channel, "failover")
        return True


CAUSES = {
    "trimmed": {"trim", "flush", "failover", "poison"},
    "expired": {"trim", "flush", "failover", "poison"},
    "slow": {"trim", "flush", "failover", "poison"},
    "diverged": {"failover", "poison"},
    "epoch": {"flush", "failover"},
}


class CheckingReader:
    """Pulls from a hub state, and fails at the first step that does not continue the one before.

    When it comes back it has nothing but the last id, as a client; what came after that id it gets again.

    Attributes:
        at: where it stands on each channel, by what was delivered.
        told: the same, by the last id.
        last_id: what it comes back with.
        gaps: how many of them it was told, but for the skips of its policy.
    """

    def __init__(
        self,
        broker: Broker,
        state: HubState,
        channels: list[str],
        after: str | None = None,
        start: str | None = None,
        filter: Filter | None = None,
        last: int | None = None,
        policy: Policy = "catch_up",
        queue_size: int = 1000,
        eager: bool = False,
    ) -> None:
        self.broker = broker
        self.state = state
        self.filter = filter
        self.channels = channels
        self.policy: Policy = policy
        self.woken = 0
        self.seen: dict[str, list[tuple[bytes, int, bytes]]] = {channel: [] for channel in channels}
        self.at: dict[str, Point | None] = dict.fromkeys(channels)
        self.told: dict[str, Point | None] = dict.fromkeys(channels)
        self.gaps: dict[str, int] = dict.fromkeys(channels, 0)
        self.last_id: str | None = after
        self.allowed = SETTINGS.max_write_bytes  # bytes of pages that it may keep
        self._queue_size = queue_size
        self._eager = eager
        self._start, self._last = start, last
        self._untold: list[tuple[str, tuple[bytes, int, bytes]]] = []  # seen since the last id
        self._foreign = after is not None and not _is_ours(after, channels)
        self._come()

    def wake(self) -> None:
        self.woken += 1

    def reconnect(self) -> None:
        """It is cut off, and comes back with the last id."""
        self.leave()
        for channel, mark in self._untold:
            self.seen[channel].remove(mark)
        self._untold = []
        self._come()

    def pull(self, max_bytes: int, cut_behind: int | None = None) -> bool:
        """One batch; whether there was one.

        Args:
            cut_behind: its connection is cut behind so many deliveries of it.
        """
        if not self.opened and not self._open():
            return False
        self.allowed = max_bytes
        try:
            batch = self.state.pull(self.follower, max_bytes)
        except SlowReader:
            assert self.policy == "disconnect"
            self.reconnect()
            return True
        if batch is None:
            return False
        assert batch.deliveries, "an empty batch is no news"
        for delivery in batch.deliveries[:cut_behind]:
            self._check(delivery)
        if cut_behind is not None:
            self.reconnect()
        return True

    def _come(self) -> None:
        request = make_request(
            SETTINGS, self.channels, after=self.last_id, start=self._start, filter=self.filter, last=self._last,
            policy=self.policy, queue_size=self._queue_size,
        )  # fmt: skip
        self.follower = self.state.follower(request)
        self.allowed = SETTINGS.max_write_bytes
        self.state.join(self)
        self.opened = False
        self.at = dict(self.told)
        without_id = self.last_id is None or self._foreign
        self._fresh = {channel for channel in self.channels if without_id and self.told[channel] is None}
        self._came_at = {channel: len(self.broker.log(channel).born) for channel in self.channels}

    def _open(self) -> bool:
        if not self._eager and not self.state.ready(self.follower):
            return False
        self.opened = True
        for cursor in self.follower.cursors:
            at = None if cursor.point is None else _plain(cursor.point)
            before = self.told[cursor.channel]
            assert before is None or at == before, "the last id does not lead to where it stood"
            self.at[cursor.channel] = at
        if self.follower.id():
            self._tell(self.follower.id())
        return True

    def _check(self, delivery: Delivery) -> None:
        channel = delivery.channel
        if delivery.kind == GAP:
            gap = delivery.gap
            assert gap is not None
            self._check_gap(channel, gap)
            self.at[channel] = gap.after
        elif delivery.kind == ENTRY:
            entry = delivery.entry
            assert entry is not None
            at = self.at[channel]
            if not entry.stored:
                assert delivery.id is None
                assert self.filter is not None or at in (None, Point(entry.epoch, entry.offset, entry.prev))
                return
            if self.filter is None:
                assert at is not None or self._eager
                at = at and in_life(at, entry.epoch)
                assert at is None or (entry.epoch, entry.offset, entry.prev) == (at.epoch, at.offset + 1, at.check), (
                    at,
                    entry,
                )
            else:
                assert self.filter.matches(channel, entry) or entry.is_end
                assert at is None or at.epoch != entry.epoch or entry.offset > at.offset
            if channel in self._fresh and self._start != "earliest" and not self.broker.causes.get(channel):
                number = self.broker.log(channel).born[entry.check]
                assert number >= self._came_at[channel] - (self._last or 0), "it was published before the reader came"
            mark = (entry.epoch, entry.offset, entry.check)
            assert mark not in self.seen[channel], f"{mark} came twice"
            self.seen[channel].append(mark)
            self._untold.append((channel, mark))
            self.at[channel] = _plain(entry)
        else:
            assert delivery.kind == END or delivery.channel == ""
        if delivery.id is not None:
            self._tell(delivery.id)

    def _check_gap(self, channel: str, gap: Gap) -> None:
        at = self.at[channel]
        skips = gap.reason == "slow" and self.policy in ("drop_oldest", "drop_newest", "latest_only")
        if not skips:
            self.gaps[channel] += 1
            explained = self._foreign if gap.reason == "invalid" else self.broker.explains(channel, gap.reason)
            assert explained, f"{gap} without a cause, at {at}"
        if gap.missed is not None:
            assert at is not None
            missed, point, at = 0, gap.after, in_life(at, gap.after.epoch)
            while point != at:  # in the history that this process knew, which the broker may have lost meanwhile
                entry = self.broker.log(channel).ever[point.epoch, point.offset, point.check]
                missed += self.filter is None or self.filter.matches(channel, entry)
                point = Point(entry.epoch, entry.offset - 1, entry.prev)
            assert gap.missed == missed, (gap, at)

    def _tell(self, id: bytes) -> None:
        """An id: it says of every channel where the reader stands, or a cut behind it would lose something."""
        self.last_id = id.decode()
        self._untold = []
        positions = parse_id(self.last_id)
        assert positions is not None
        for channel in self.channels:
            position = positions.get(channel_key(channel).decode())
            assert position is not None, f"{self.last_id} says nothing of {channel}"
            told = Point(position.epoch.encode(), position.offset, position.check.encode())
            if self.filter is None and self.at[channel] is not None:
                assert told == self.at[channel], (channel, told, self.at[channel])
            self.told[channel] = told

    def check_settled(self) -> None:
        """Nothing is under way any more: it stands at the head, and told no gap without a loss."""
        for cursor in self.follower.cursors:
            log = self.broker.log(cursor.channel)
            assert cursor.point is not None
            if cursor.ended:
                assert end_stands(cursor.point, Point(log.epoch, log.top, log.check), log.closed)
                continue
            assert not log.closed
            assert _plain(in_life(cursor.point, log.epoch)) == Point(log.epoch, log.top, log.check)
            # losses of before it joined count too: it may meet them in the log, or in what this process still believed
            most = self.broker.losses.get(cursor.channel, 0) + log.overruns
            assert self.gaps[cursor.channel] <= most or self._foreign

    def leave(self) -> None:
        self.state.leave(self, T0)


def _is_ours(after: str, channels: list[str]) -> bool:
    positions = parse_id(after)
    return positions is not None and any(channel_key(channel).decode() in positions for channel in channels)


def announce(state: HubState, channel: str, log: Log, entries: list[Entry], *, with_copy: bool = True) -> None:
    if with_copy and len(entries) == 1:
        state.announced(channel, alone(entries[0]))
    else:
        state.announced(channel, Announcement(log.epoch, log.top, entries if with_copy else []))


def alone(entry: Entry) -> Announcement:
    """The announcement of one entry, as it comes from the link: without an epoch, but for the first of one."""
    if entry.prev == GENESIS:
        return Announcement(entry.epoch, entry.offset, [entry])
    return decode_announcement(record_of(entry))


def settle(broker: Broker, state: HubState, readers: list[CheckingReader]) -> None:
    """Lets every read and every reader finish; fails if that takes absurdly long."""
    for round_ in range(1000):
        busy = False
        for reader in readers:
            while reader.pull(10_000):
                busy = True
        due = state.reads(T0)
        for feed, request in due:
            busy = True
            state.resolved(feed, broker.log(feed.channel).read(request))
        state.changed()
        state.cache.clear()
        if not busy:
            return
        assert round_ < 990, "reads never come to an end"


def id_of(channel: str, entry: Entry) -> str:
    """What a reader that has seen this entry sends."""
    key = channel_key(channel).decode()
    return str(Position(key, entry.epoch.decode(), entry.offset, entry.check.decode(), entry.is_end))


def confirmed_feeds(state: HubState) -> list[Feed]:
    return [feed for feed in state.feeds.values() if feed.confirmed]


def _plain(point: Point | Entry) -> Point:
    return Point(point.epoch, point.offset, point.check)
