"""Policy ``block``: a reader's holds on the publishers of its channels. Memory backend only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from ..follow.follower import Follower
from ..follow.subscribe_request import SubscribeRequest


class Hold(Protocol):
    """One reader on one channel, as publishers see it."""

    def advance(self, offset: int) -> None: ...

    def release(self) -> None: ...


class Holds:
    """The holds of one reader; none unless its policy is ``block``."""

    __slots__ = ("_holds",)

    def __init__(self, holds: Sequence[Hold]) -> None:
        self._holds = holds

    def advance(self, follower: Follower) -> None:
        """Tells publishers the reader's positions, behind which they may have room."""
        for hold, cursor in zip(self._holds, follower.cursors, strict=False):
            if cursor.point is not None:
                hold.advance(cursor.point.offset)

    def release(self) -> None:
        """Releases publishers from a reader that is gone; idempotent."""
        holds, self._holds = self._holds, ()
        for hold in holds:
            hold.release()


NO_HOLDS: Final = Holds(())  # shared by all readers without the policy


def holds_for(backend: Any, request: SubscribeRequest) -> Holds:
    """The holds of a reader that enters the hub."""
    if request.policy != "block":
        return NO_HOLDS
    return Holds([backend.hold(channel, request.queue_size) for channel in request.channels])
