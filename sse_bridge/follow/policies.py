"""What happens to a reader that falls behind: moves of its cursor, never a queue.

========== =====================================================================================
catch_up    nothing: it reads on from the log; only a log trimmed past it makes a gap
drop_oldest it keeps the newest `capacity` entries and skips what is older
drop_newest it keeps the oldest `capacity` entries and then skips to the head of that moment
latest_only it skips to the newest entry
disconnect  its stream ends; it resumes by its id
block       publishers wait for it (memory backend only); its cursor never moves by itself
========== =====================================================================================

A policy acts on a reader that was at the head and fell behind, not on one that begins behind it or resumes: else who was
disconnected would be so again before its first event.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..config import Policy
from ..errors import SlowReader


@dataclass(slots=True)
class Pace:
    """One reader's policy on one channel, and what it must remember of it.

    Attributes:
        policy: see the table above.
        capacity: how many entries a reader may be behind before the policy acts.
        keep_until: drop_newest: the last offset it still gets before `skip_to` is asked again; 0 while not behind.
    """

    policy: Policy
    capacity: int
    keep_until: int = 0

    def skip_to(self, offset: int, head: int) -> int | None:
        """The offset behind which the reader at `offset` must go on, given the channel's `head`; None: it stays.

        Raises:
            SlowReader: policy disconnect, and it is more than `capacity` behind.
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
            raise SlowReader(f"the reader fell {lag} entries behind, queue_size={self.capacity} allows no more")
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
