"""The channels to read next: by server, each with a pause of its own after a failure; no I/O, no clock.

A round trip carries channels of one server, so that a server that does not answer holds up its own channels only; and a
channel that cannot be read waits by itself, so that its neighbours are read on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from typing import Final, TypeVar

from ..runtime.chance import CHANCE

READS_AT_ONCE: Final = 16  # channels per round trip of reads
TRIPS_AT_ONCE: Final = 4  # to one server; further channels share the next trip
PAUSE_SECONDS: Final = (0.05, 2.0)  # after a failed read: from … to, doubling, jittered
RETRIES_PER_SECOND: Final = 500  # of all channels in a pause: with more of them each waits longer

T = TypeVar("T")


class _Trip:
    """A round trip under way: its server, and the number of its requests that have not ended."""

    __slots__ = ("open", "server")

    def __init__(self, server: Hashable) -> None:
        self.server = server
        self.open = 0


class ReadQueue:
    """See the module.

    Args:
        server_of: the server that answers for a channel, if there are several; anything hashable.

    Attributes:
        wanted: the channels that may have something to read and are in no pause, by server.
    """

    def __init__(self, server_of: Callable[[str], Hashable] | None = None) -> None:
        self._server_of = server_of
        self.wanted: dict[Hashable, OrderedDict[str, None]] = {}
        self._under_way: dict[str, _Trip] = {}
        self._counts: dict[Hashable, int] = {}  # trips under way, by server
        self._pauses: dict[str, float] = {}  # the length of the last pause, of each channel that has failed
        self._until: dict[str, float] = {}  # of each channel that is in its pause
        self._ends: list[tuple[float, str]] = []  # a heap of the same, with some that are over already

    def want(self, channel: str) -> None:
        """Queues a channel that may have something to read; a channel in a pause is queued at its end anyway."""
        if channel in self._until:
            return
        server = None if self._server_of is None else self._server_of(channel)
        wanted = self.wanted.get(server)
        if wanted is None:
            wanted = self.wanted[server] = OrderedDict()
        wanted[channel] = None

    def want_now(self, channel: str) -> None:
        """Queues a channel and ends its pause, since the server answers again."""
        self.succeeded(channel)
        self.want(channel)

    def trip(self, now: float, begin: Callable[[str], T | None]) -> list[T]:
        """The requests of one round trip; empty when nothing is due, or `TRIPS_AT_ONCE` are under way.

        Args:
            begin: makes a channel's request; None: there is nothing to read, or a read is under way. `ended` follows
                for each request, and its caller calls `want` again.
        """
        while self._ends and self._ends[0][0] <= now:
            until, channel = heappop(self._ends)
            if self._until.get(channel) == until:
                del self._until[channel]
                self.want(channel)
        moved = False
        for server in list(self.wanted):
            wanted = self.wanted[server]
            if self._counts.get(server, 0) >= TRIPS_AT_ONCE:
                continue
            requests: list[T] = []
            trip = _Trip(server)
            while wanted and len(requests) < READS_AT_ONCE:
                channel, _ = wanted.popitem(last=False)
                if server is None and self._server_of is not None and self._server_of(channel) is not None:
                    self.want(channel)  # its server is known by now
                    moved = True
                    continue
                request = begin(channel)
                if request is not None:
                    requests.append(request)
                    self._under_way[channel] = trip
            del self.wanted[server]
            if wanted:
                self.wanted[server] = wanted  # behind the other servers: they take turns
            if requests:
                trip.open = len(requests)
                self._counts[server] = self._counts.get(server, 0) + 1
                return requests
        return self.trip(now, begin) if moved else []

    def ended(self, channel: str) -> None:
        """Notes the end of a request of `trip`; idempotent."""
        trip = self._under_way.pop(channel, None)
        if trip is None:
            return
        trip.open -= 1
        if not trip.open:
            self._counts[trip.server] -= 1
            if not self._counts[trip.server]:
                del self._counts[trip.server]

    def succeeded(self, channel: str) -> None:
        """Ends the channel's pause; its next failure counts as a first one."""
        if self._pauses:
            self._pauses.pop(channel, None)
            self._until.pop(channel, None)

    def failed(self, channel: str, now: float) -> bool:
        """Lets the channel be read again after a growing, jittered pause; returns whether this failure is the first."""
        low, high = PAUSE_SECONDS
        before = self._pauses.get(channel)
        pause = low if before is None else min(2 * before, max(high, len(self._pauses) / RETRIES_PER_SECOND))
        self._pauses[channel] = pause
        until = self._until[channel] = now + pause * CHANCE.uniform(0.5, 1.0)
        heappush(self._ends, (until, channel))
        return before is None

    def forget(self, channel: str) -> None:
        """Drops a channel that has no reader any more."""
        self.ended(channel)
        self.succeeded(channel)

    @property
    def has_due(self) -> bool:
        """Whether `trip` would search for a channel to read, apart from pauses."""
        if not self.wanted:
            return False
        return any(self._counts.get(server, 0) < TRIPS_AT_ONCE for server in self.wanted)

    def next_at(self) -> float | None:
        """The moment to call `trip` again (0.0: now); None: after the next `want` or `ended`."""
        if self.has_due:
            return 0.0
        while self._ends and self._until.get(self._ends[0][1]) != self._ends[0][0]:
            heappop(self._ends)
        return self._ends[0][0] if self._ends else None
