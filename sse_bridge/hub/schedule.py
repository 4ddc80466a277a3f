"""The schedule of a hub: reads of channels, checks of quiet ones, alarms of readers; no I/O, no clock."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import islice
from typing import Final, Generic, TypeVar

from ..follow.feed import Feed
from ..runtime.chance import CHANCE

READS_AT_ONCE: Final = 16  # channels per round trip of reads
TRIPS_AT_ONCE: Final = 4  # to one server; further channels share the next trip
PAUSE_SECONDS: Final = (0.05, 2.0)  # after a failed read: from … to, doubling, jittered
RETRIES_PER_SECOND: Final = 500  # of all channels in a pause: with more of them each waits longer
BUSY_PER_TICK: Final = 1024  # channels that were busy a tick ago; each costs 0.2 µs
CHECKS_PER_TICK: Final = 256  # position checks per tick; with more channels the period stretches

T = TypeVar("T")


class ReadQueue:
    """The channels to read next.

    A round trip carries channels of one server, so that a server that does not answer holds up its own channels only;
    and a channel that cannot be read waits by itself, so that its neighbours are read on.

    Args:
        server_of: the server that answers for a channel, if there are several; anything hashable.

    Attributes:
        wanted: the channels that may have something to read and are in no pause, by server.
        paused: the end of the pause of each channel that is in one.
    """

    def __init__(self, server_of: Callable[[str], Hashable] | None = None) -> None:
        self._server_of = server_of
        self.wanted: dict[Hashable, OrderedDict[str, None]] = {}
        # By channel, the server of its trip and the trip's requests that have not ended.
        self._under_way: dict[str, tuple[Hashable, set[str]]] = {}
        self._counts: dict[Hashable, int] = {}  # trips under way, by server
        self._pauses: dict[str, float] = {}  # the length of the last pause, of each channel that has failed
        self.paused: dict[str, float] = {}
        self._ends: list[tuple[float, str]] = []  # a heap of the same, with some that are over already

    def want(self, channel: str, *, now: bool = False) -> None:
        """Queues a channel that may have something to read; a channel in a pause is queued at its end anyway.

        Args:
            now: ends the pause, since the server answers again.
        """
        if now and self._pauses:
            self._end_pause(channel)
        if channel in self.paused:
            return
        server = None if self._server_of is None else self._server_of(channel)
        wanted = self.wanted.get(server)
        if wanted is None:
            wanted = self.wanted[server] = OrderedDict()
        wanted[channel] = None

    def trip(self, now: float, begin: Callable[[str], T | None]) -> list[T]:
        """The requests of one round trip; empty when nothing is due, or `TRIPS_AT_ONCE` are under way.

        Args:
            begin: makes a channel's request; None: there is nothing to read, or a read is under way. `ended` or
                `failed` follows for each request, and the caller of `ended` calls `want` again if more is to be read.
        """
        while self._ends and self._ends[0][0] <= now:
            until, channel = heappop(self._ends)
            if self.paused.get(channel) == until:
                del self.paused[channel]
                self.want(channel)
        moved = False
        for server in list(self.wanted):
            wanted = self.wanted[server]
            if self._counts.get(server, 0) >= TRIPS_AT_ONCE:
                continue
            requests: dict[str, T] = {}
            while wanted and len(requests) < READS_AT_ONCE:
                channel, _ = wanted.popitem(last=False)
                if server is None and self._server_of is not None and self._server_of(channel) is not None:
                    self.want(channel)  # its server is known by now
                    moved = True
                    continue
                request = begin(channel)
                if request is not None:
                    requests[channel] = request
            del self.wanted[server]
            if wanted:
                self.wanted[server] = wanted  # behind the other servers: they take turns
            if requests:
                self._under_way.update(dict.fromkeys(requests, (server, set(requests))))
                self._counts[server] = self._counts.get(server, 0) + 1
                return list(requests.values())
        return self.trip(now, begin) if moved else []

    def ended(self, channel: str) -> None:
        """Ends the channel's request, if one is under way, and its pause; its next failure counts as a first one.

        For a channel that was read, and for one that has no reader any more.
        """
        self._end_request(channel)
        if self._pauses:
            self._end_pause(channel)

    def failed(self, channel: str, now: float) -> bool:
        """Ends the channel's request, and lets it be read again after a growing, jittered pause.

        Returns whether this failure is the first.
        """
        self._end_request(channel)
        low, high = PAUSE_SECONDS
        before = self._pauses.get(channel)
        pause = low if before is None else min(2 * before, max(high, len(self._pauses) / RETRIES_PER_SECOND))
        self._pauses[channel] = pause
        until = self.paused[channel] = now + pause * CHANCE.uniform(0.5, 1.0)
        heappush(self._ends, (until, channel))
        return before is None

    @property
    def has_due(self) -> bool:
        """Whether `trip` would search for a channel to read, apart from pauses."""
        return any(self._counts.get(server, 0) < TRIPS_AT_ONCE for server in self.wanted)

    def next_at(self) -> float | None:
        """The moment to call `trip` again (0.0: now); None: after the next `want`, `ended` or `failed`."""
        if self.wanted and self.has_due:
            return 0.0
        while self._ends and self.paused.get(self._ends[0][1]) != self._ends[0][0]:
            heappop(self._ends)
        return self._ends[0][0] if self._ends else None

    def _end_request(self, channel: str) -> None:
        server, trip = self._under_way.pop(channel, (None, set()))
        if channel not in trip:
            return
        trip.discard(channel)
        if not trip:
            self._counts[server] -= 1
            if not self._counts[server]:
                del self._counts[server]

    def _end_pause(self, channel: str) -> None:
        self._pauses.pop(channel, None)
        self.paused.pop(channel, None)


class PositionChecks:
    """A bounded number of checks of quiet channels per tick, so that silently lost entries are found.

    A live message proves that nothing is missing before it, so a busy channel is not read, since a read would hold up
    its live entries; a channel is read one tick after it has fallen silent.

    Args:
        feeds: the hub's, by channel.

    Attributes:
        begins: the last call began a round.
    """

    def __init__(self, check_seconds: float, feeds: Mapping[str, Feed]) -> None:
        self._check_seconds = check_seconds
        self._feeds = feeds
        self.begins = False
        self._queue: list[str] = []
        self._busy: dict[str, None] = {}  # their live messages prove their positions; looked at every tick
        self._due = 0.0

    def due(self, now: float, read: Iterable[str]) -> list[Feed]:
        """The channels that must be read now: of those that were busy a tick ago, and of the round under way.

        Args:
            read: the channels with readers, of which the next round takes those that are not busy.
        """
        found: list[Feed] = []
        feeds, busy = self._feeds, self._busy
        for channel in list(islice(busy, BUSY_PER_TICK)):
            del busy[channel]
            self._look(channel, found)
            if 2 * len(found) >= CHECKS_PER_TICK:  # the other half is for those that are never busy
                break
        self.begins = not self._queue and now >= self._due
        if self.begins:
            self._due = now + self._check_seconds
            self._queue = [
                channel for channel in read if channel in feeds and channel not in busy and _to_check(feeds[channel])
            ]
        count = CHECKS_PER_TICK - len(found)
        for channel in self._queue[:count]:
            self._look(channel, found)
        del self._queue[:count]
        return found

    def _look(self, channel: str, due: list[Feed]) -> None:
        feed = self._feeds.get(channel)
        if feed is None or not _to_check(feed):
            return
        if feed.proven and feed.live:
            feed.proven = False
            self._busy[channel] = None
        else:
            due.append(feed)


def _to_check(feed: Feed) -> bool:
    """Whether only a check reads this feed: a confirmed one that is stale is read anyway."""
    return feed.live or not feed.confirmed


class Alarms(Generic[T]):
    """Sleepers in buckets of a second, and one timer for all readers of a hub.

    A reader arms its alarm once. Events move its next heartbeat on, but not the alarm: the alarm fires early, the reader
    finds nothing due yet and arms the next one. So an event costs nothing here.

    A hub ticks once a second, at any part of it, so `take_due` searches the bucket of the present second, and a sleeper
    that is due later in that second waits for the next tick.
    """

    def __init__(self) -> None:
        self._buckets: defaultdict[int, set[T]] = defaultdict(set)
        self._when_of: dict[T, float] = {}

    def arm(self, sleeper: T, when: float) -> None:
        """Wakes `sleeper` at `when` (seconds, monotonic), up to one tick late; its earlier alarm stays."""
        armed = self._when_of.get(sleeper)
        if armed is not None and armed <= when:
            return
        # First, since a call that is interrupted behind this line wakes for nothing at worst.
        self._buckets[math.floor(when)].add(sleeper)
        self._when_of[sleeper] = when
        if armed is not None and math.floor(armed) != math.floor(when):
            self._drop(sleeper, armed)

    def disarm(self, sleeper: T) -> None:
        when = self._when_of.get(sleeper)
        if when is not None:
            self._drop(sleeper, when)
            self._when_of.pop(sleeper, None)

    def take_due(self, now: float) -> list[T]:
        """Takes out the sleepers whose time has come."""
        found: list[T] = []
        present = math.floor(now)
        for second in sorted(second for second in self._buckets if second < present):
            found.extend(self._buckets.pop(second))
        found.extend([each for each in self._buckets.get(present, ()) if self._when_of.get(each, 0.0) <= now])
        for sleeper in found:
            when = self._when_of.pop(sleeper, 0.0)  # missing if an exception ended `arm` early
            self._drop(sleeper, max(when, present))
        return found

    def __len__(self) -> int:
        return len(self._when_of)

    def _drop(self, sleeper: T, when: float) -> None:
        second = math.floor(when)
        bucket = self._buckets[second]
        bucket.discard(sleeper)
        if not bucket:
            del self._buckets[second]
