"""Policies for readers that fall behind: moves of a cursor, never a queue.

========== =====================================================================================
catch_up    the reader goes on from the log; only a log trimmed past it makes a gap
drop_oldest the reader gets the newest `capacity` entries and skips older ones
drop_newest the reader gets the oldest `capacity` entries and then skips to the head of that moment
latest_only the reader skips to the newest entry
disconnect  the stream ends; its client resumes by its id
block       publishers wait for the reader (memory backend only); the cursor never moves by itself
========== =====================================================================================

A policy acts on a reader that was at the head and fell behind, not on one that begins behind or resumes: otherwise a
disconnected client would be disconnected again before its first event.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..config import Policy
from ..errors import SlowReader


@dataclass(slots=True)
class Pace:
    """One reader's policy on one channel, with the policy's state.

    Attributes:
        policy: see the table above.
        capacity: entries that a reader may be behind before the policy acts.
        keep_until: the last offset that drop_newest still delivers before it skips; 0 while not behind.
    """

    policy: Policy
    capacity: int
    keep_until: int = 0

    def skip_to(self, offset: int, head: int) -> int | None:
        """The offset behind which a reader at `offset` must go on, given the channel's `head`; None: no move.

        Raises:
            SlowReader: the policy is ``disconnect``, and the reader is more than `capacity` behind.
        """
        lag = head - offset
        if self.policy == "latest_only":
            return head - 1 if lag > 1 else None
        if self.policy == "drop_newest":
            return self._drop_newest(offset, head)
        if lag <= self.capacity:
            return None
        if self.policy == "drop_oldest":
            return head - self.capacity
        if self.policy == "disconnect":
            raise SlowReader(f"expected at most queue_size={self.capacity} entries behind, got {lag}; resume by the id")
        return None

    def _drop_newest(self, offset: int, head: int) -> int | None:
        if self.keep_until:
            if offset < self.keep_until:
                return None
            self.keep_until = 0
            return head if head > offset else None
        if head - offset > self.capacity:
            self.keep_until = offset + self.capacity
        return None
