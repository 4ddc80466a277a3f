"""The memory of all windows of a process, and the choice of those that give way.

Each hub counts its own windows and makes room among them by itself, since they belong to its thread. A hub may use all
that the others leave. While all together hold too much, hubs above an equal part give way until the sum is right or the
part is reached, each at its next event or tick.

The windows that were not read for the longest go first, each from its oldest entry to its last. A reader at the head of
a window does not notice; a reader that wants an evicted entry reads the log.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from operator import attrgetter

from ..follow.feed import Feed

_read_at = attrgetter("read_at")


class WindowBudget:
    """The bytes for all windows of one bridge in one process. Safe for any number of threads.

    Args:
        max_bytes: the setting ``windows_max_bytes``.

    Attributes:
        part: the bytes that each hub may use in any case.
    """

    def __init__(self, max_bytes: int) -> None:
        self.part = max_bytes
        self._max_bytes = max_bytes
        self._hubs: weakref.WeakValueDictionary[int, Windows] = weakref.WeakValueDictionary()

    def add(self, windows: Windows) -> None:
        """Adds a hub's windows, until they are collected."""
        self._hubs[id(windows)] = windows
        self.part = self._max_bytes // len(self._hubs)

    def excess(self, used: int) -> int:
        """The bytes of `used` that a hub must give up now."""
        found = [known() for known in self._hubs.valuerefs()]  # in one call, since other threads add hubs
        hubs = [windows for windows in found if windows is not None]
        self.part = self._max_bytes // max(1, len(hubs))
        return max(0, min(sum([windows.used for windows in hubs]) - self._max_bytes, used - self.part))


class Windows:
    """The windows of one hub, under its serialisation.

    Attributes:
        used: the bytes that they hold, roughly.
        passes: the number of the hub's passes; feeds keep the pass in which they were read.
        budget: shared with other hubs.
    """

    def __init__(self, budget: WindowBudget) -> None:
        self.budget = budget
        self.used = 0
        self.passes = 0
        self._by_age: list[tuple[str, int]] = []  # channels and the passes of their last read, the oldest last
        self._scanned_at = -1  # a pass
        budget.add(self)

    def forget(self, feed: Feed) -> None:
        """Subtracts a feed that has no reader any more."""
        self.used -= feed.counted
        feed.counted = 0

    def recount(self, feeds: Mapping[str, Feed]) -> None:
        """Adds up everything again, since a call that was ended in the middle of its counting leaves an error."""
        for feed in feeds.values():
            feed.counted = feed.size
        self.used = sum([feed.counted for feed in feeds.values()])

    def quietest(self, feeds: Mapping[str, Feed]) -> Feed | None:
        """The feed that gives way next; None: none can any more in this pass.

        The order is that of the last scan; a feed that was read since then waits for the next scan.
        """
        while True:
            while self._by_age:
                channel, read_at = self._by_age[-1]
                feed = feeds.get(channel)
                if feed is not None and feed.read_at == read_at and feed.counted > 0:
                    return feed
                self._by_age.pop()
            if self._scanned_at == self.passes:
                return None
            self._scanned_at = self.passes
            newest_first = sorted(feeds.values(), key=_read_at, reverse=True)
            self._by_age = [(feed.channel, feed.read_at) for feed in newest_first]

    def shrink(self, feed: Feed, wanted: int) -> int:
        """Lets `feed` give up so many bytes; returns how many it did.

        A feed that was read in this pass keeps its newest entry, which its readers are about to take.
        """
        feed.give_way(wanted, but_newest=feed.read_at == self.passes)
        freed = feed.counted - feed.size
        self.used -= freed
        feed.counted -= freed
        if freed < wanted:
            self._by_age.pop()
        return freed
