"""Position checks of quiet channels, so that silently lost entries are found; no I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from ..follow.feed import Feed

BUSY_PER_TICK: Final = 1024  # channels that were busy a tick ago; each costs 0.2 µs
CHECKS_PER_TICK: Final = 256  # position checks per tick; with more channels the period stretches


class PositionChecks:
    """A bounded number of checks per tick.

    A live message proves that nothing is missing before it, so a busy channel is not read, since a read would hold up
    its live entries; a channel is read one tick after it has fallen silent.

    Attributes:
        round_seconds: the duration of the last full round; the setting, or more under load.
    """

    def __init__(self, check_seconds: float) -> None:
        self.round_seconds = check_seconds
        self._check_seconds = check_seconds
        self._queue: list[str] = []
        self._busy: dict[str, None] = {}  # their live messages prove their positions; looked at every tick
        self._due = 0.0
        self._round_began = 0.0

    def begin(self, now: float, read: Iterable[str], feed_of: Callable[[str], Feed | None]) -> bool:
        """Begins a round of the channels with readers that are not busy, if one is due; returns whether it does."""
        if self._queue or now < self._due:
            return False
        if self._round_began:
            self.round_seconds = max(self._check_seconds, now - self._round_began)
        self._round_began = now
        self._due = now + self._check_seconds
        self._queue = [
            channel
            for channel in read
            if channel not in self._busy and (feed := feed_of(channel)) is not None and _to_check(feed)
        ]
        return True

    def busy(self, feed_of: Callable[[str], Feed | None]) -> list[Feed]:
        """The channels that were busy a tick ago and must be read now."""
        due: list[Feed] = []
        for channel in list(islice(self._busy, BUSY_PER_TICK)):
            del self._busy[channel]
            self._look(feed_of(channel), due)
            if 2 * len(due) >= CHECKS_PER_TICK:  # the other half is for those that are never busy
                break
        return due

    def quiet(self, count: int, feed_of: Callable[[str], Feed | None]) -> list[Feed]:
        """The channels that must be read now, of the next `count` of the round."""
        due: list[Feed] = []
        for channel in self._queue[:count]:
            self._look(feed_of(channel), due)
        del self._queue[:count]
        return due

    def _look(self, feed: Feed | None, due: list[Feed]) -> None:
        if feed is None or not _to_check(feed):
            return
        if feed.proven and feed.live:
            feed.proven = False
            self._busy[feed.channel] = None
            return
        due.append(feed)


def _to_check(feed: Feed) -> bool:
    """Whether only a check reads this feed: a confirmed one that is stale is read anyway."""
    return feed.live or not feed.confirmed
