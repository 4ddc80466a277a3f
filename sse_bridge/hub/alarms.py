"""Alarms of readers: buckets of a second, one timer for all readers of a hub.

A reader arms its alarm once. Events move its next heartbeat on, but not the alarm: the alarm fires early, the reader
finds nothing due yet and arms the next one. So an event costs nothing here.

A hub ticks once a second, at any part of it, so `due` searches the bucket of the present second, and a sleeper that is
due later in that second waits for the next tick.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Generic, TypeVar

T = TypeVar("T")


class Alarms(Generic[T]):
    """Buckets of sleepers by the second in which they are due."""

    def __init__(self) -> None:
        self._buckets: defaultdict[int, set[T]] = defaultdict(set)
        self._when_of: dict[T, float] = {}

    def arm(self, sleeper: T, when: float) -> None:
        """Wakes `sleeper` at `when` (seconds, monotonic), up to one tick late; its earlier alarm stays."""
        armed = self._when_of.get(sleeper)
        if armed is not None and armed <= when:
            return
        self._buckets[math.floor(when)].add(
            sleeper
        )  # first: a call that is interrupted behind this line wakes for nothing at worst
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
