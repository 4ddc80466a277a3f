"""Who must be woken when: buckets of a second, one timer for all readers of a hub.

A reader arms its alarm once. Events move its next heartbeat on, but not the alarm: it fires early, the reader sees
that nothing is due yet and arms the next one. So an event costs nothing here.

A hub ticks once a second, at any part of it. So the bucket of the present second is looked through, and who is due
later in it waits for the next tick: each sleeper is looked at twice at most.
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
        """Wakes `sleeper` at `when` (seconds, monotonic), up to one tick late; an earlier alarm of its own stays."""
        armed = self._when_of.get(sleeper)
        if armed is not None:
            if armed <= when:
                return
            self._drop(sleeper, armed)
        self._when_of[sleeper] = when
        self._buckets[math.floor(when)].add(sleeper)

    def disarm(self, sleeper: T) -> None:
        when = self._when_of.pop(sleeper, None)
        if when is not None:
            self._drop(sleeper, when)

    def due(self, now: float) -> list[T]:
        """Those whose time has come; their alarms are gone."""
        found: list[T] = []
        present = math.floor(now)
        for second in sorted(second for second in self._buckets if second < present):
            found.extend(self._buckets.pop(second))
        found.extend([sleeper for sleeper in self._buckets.get(present, ()) if self._when_of[sleeper] <= now])
        for sleeper in found:
            when = self._when_of.pop(sleeper)
            if when >= present:
                self._drop(sleeper, when)
        return found

    def __len__(self) -> int:
        return len(self._when_of)

    def _drop(self, sleeper: T, when: float) -> None:
        second = math.floor(when)
        bucket = self._buckets[second]
        bucket.discard(sleeper)
        if not bucket:
            del self._buckets[second]
