"""Counts of the losses of one bridge's hubs since the process began, read by metrics.

One tally serves all hubs, so that the counts outlive loops and readers. Nothing here is on the path of a delivered
event: a lost event, a skip, and a lost link are rare.
"""

from __future__ import annotations

import threading


class Tally:
    """See the module. Safe for any number of threads.

    Attributes:
        slow: log entries that slow-reader policies skipped, summed over readers.
        ephemeral: ephemeral events that did not directly follow the head and were dropped, once per hub.
        links_lost: losses of a hub's link to the broker.
    """

    def __init__(self) -> None:
        self.slow = 0
        self.ephemeral = 0
        self.links_lost = 0
        self._lock = threading.RLock()

    def skipped(self, count: int) -> None:
        with self._lock:
            self.slow += count

    def ephemeral_dropped(self) -> None:
        with self._lock:
            self.ephemeral += 1

    def link_lost(self) -> None:
        with self._lock:
            self.links_lost += 1
