"""Who must be woken when: whole seconds, one timer for all readers of a hub.

A reader arms its alarm once. Events move its next heartbeat on, but not the alarm: it fires early, the reader sees
that nothing is due yet and arms the next one. So an event costs nothing here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Generic, TypeVar

T = TypeVar("T")


class Alarms(Generic[T]):
    """Buckets of sleepers by the second at which they are due."""

    def __init__(self) -> None:
        self._buckets: defaultdict[int, set[T]] = defaultdict(set)
        self._second_of: dict[T, int] = {}

    def arm(self, sleeper: T, when: float) -> None:
        """Wakes `sleeper` at `when` (seconds, monotonic), up to one tick late; an earlier alarm of its own stays."""
        second = math.ceil(when)
        armed = self._second_of.get(sleeper)
        if armed is not None:
            if armed <= second:
                return
            self._drop(sleeper, armed)
        self._second_of[sleeper] = second
        self._buckets[second].add(sleeper)

    def disarm(self, sleeper: T) -> None:
        second = self._second_of.pop(sleeper, None)
        if second is not None:
            self._drop(sleeper, second)

    def due(self, now: float) -> list[T]:
        """Those whose time has come; their alarms are gone."""
        found: list[T] = []
        for second in sorted(second for second in self._buckets if second <= now):
            found.extend(self._buckets.pop(second))
        for sleeper in found:
            del self._second_of[sleeper]
        return found

    def __len__(self) -> int:
        return len(self._second_of)

    def _drop(self, sleeper: T, second: int) -> None:
        bucket = self._buckets[second]
        bucket.discard(sleeper)
        if not bucket:
            del self._buckets[second]
