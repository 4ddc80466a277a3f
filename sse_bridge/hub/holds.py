"""Readers with a policy: one that skips is logged, and one that blocks holds the publishers of its channels.

Only the memory backend holds publishers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from ..follow.follower import Follower
from ..follow.subscribe_request import SubscribeRequest

logger = logging.getLogger("sse_bridge.hub")


class Hold(Protocol):
    """One reader on one channel, as publishers see it; `release` is idempotent."""

    def advance(self, offset: int) -> None: ...

    def release(self) -> None: ...


def holds_of(backend: Any, request: SubscribeRequest) -> Sequence[Hold]:
    """The holds of a reader that enters the hub, one per channel; none unless its policy is ``block``."""
    if request.policy != "block":
        return ()
    return [backend.hold(channel, request.queue_size) for channel in request.channels]


def report_progress(follower: Follower, holds: Sequence[Hold]) -> None:
    """Tells publishers the reader's positions, behind which they may have room, and logs once that a reader is slow.

    Under no lock: a logging handler may wait, or publish.
    """
    if follower.lags:
        logger.warning("a reader of %r is slow: %d entries skipped", follower.group[0], follower.dropped)
    for hold, cursor in zip(holds, follower.cursors, strict=False):
        if cursor.point is not None:
            hold.advance(cursor.point.offset)
