"""Retries of subscriptions that Redis refused or ended, in groups with a pause; no I/O, no clock.

Thousands may be refused at once, as by a changed ACL, and each answer costs an event loop as much as an event.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Sequence
from typing import Final

SHORTEST_PAUSE: Final = 1.0  # seconds before a channel's first retry; doubles with each refusal …
LONGEST_PAUSE: Final = 30.0  # … to this, since readers have the position checks meanwhile
AT_ONCE: Final = 256  # channels per group, whose answers occupy a loop for some milliseconds
BETWEEN: Final = 0.05  # seconds between two groups


class Retries:
    """The channels to subscribe again. Not safe for concurrent use."""

    def __init__(self) -> None:
        self._pauses: dict[str, float] = {}  # the last pause of each channel refused and not confirmed since
        self._later: list[tuple[float, int, list[str]]] = []  # a heap of (time, number, channels)
        self._ready: deque[str] = deque()
        self._order = itertools.count()
        self._next_at = 0.0

    def refused(self, channels: Sequence[str], now: float) -> list[str]:
        """Schedules channels, each after a pause of its own; returns those not refused before."""
        by_pause: dict[float, list[str]] = {}
        new = []
        for channel in channels:
            before = self._pauses.get(channel)
            if before is None:
                new.append(channel)
            pause = SHORTEST_PAUSE if before is None else min(LONGEST_PAUSE, 2 * before)
            self._pauses[channel] = pause
            by_pause.setdefault(pause, []).append(channel)
        for pause, names in by_pause.items():
            heapq.heappush(self._later, (now + pause, next(self._order), names))
        return new

    def settled(self, channel: str) -> None:
        """Forgets a channel that was confirmed, or is not wanted any more."""
        if self._pauses:
            self._pauses.pop(channel, None)

    def begin(self) -> None:
        """Clears the schedule for a new connection, which subscribes everything; pauses go on growing."""
        self._later.clear()
        self._ready.clear()

    def take(self, now: float) -> list[str]:
        """The channels to ask for now, `AT_ONCE` at most."""
        if not (self._later or self._ready) or now < self._next_at:
            return []
        while self._later and self._later[0][0] <= now:
            self._ready.extend(heapq.heappop(self._later)[2])
        taken = [self._ready.popleft() for _ in range(min(AT_ONCE, len(self._ready)))]
        if self._ready:
            self._next_at = now + BETWEEN
        return [channel for channel in taken if channel in self._pauses]

    @property
    def due_at(self) -> float:
        """When to call `take` again; infinite if no retry is scheduled."""
        if self._ready:
            return self._next_at
        return max(self._later[0][0], self._next_at) if self._later else math.inf
