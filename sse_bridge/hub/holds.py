"""Policy ``block``: what ties a reader to the publishers that wait for it. Memory backend only."""

from __future__ import annotations

from typing import Any, Protocol

from ..follow.follower import Follower
from ..follow.wish import Wish


class Hold(Protocol):
    """One reader on one channel, as publishers see it."""

    def advance(self, offset: int) -> None: ...

    def release(self) -> None: ...


class Holds:
    """The holds of one reader; none unless its policy is ``block``."""

    __slots__ = ("_holds",)

    def __init__(self, backend: Any, wish: Wish) -> None:
        self._holds: list[Hold] = []
        if wish.policy == "block":
            self._holds = [backend.hold(channel, wish.queue_size) for channel in wish.channels]

    def advance(self, follower: Follower) -> None:
        """The reader has come this far; publishers may have room."""
        for hold, cursor in zip(self._holds, follower.cursors, strict=False):
            if cursor.point is not None:
                hold.advance(cursor.point.offset)

    def release(self) -> None:
        """The reader is gone; idempotent."""
        holds, self._holds = self._holds, []
        for hold in holds:
            hold.release()
