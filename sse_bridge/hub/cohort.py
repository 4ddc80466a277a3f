"""Readers that have seen exactly the same and want the same: decided, built and rendered once for all of them.

On the path of a live event a hub's work is one pull per cohort, and one push per member. A member is on its own while it
catches up or cannot take more; whoever stands at the head of all its channels joins. Since all members of a cohort
stand at the same place, one follower is theirs together; a member that leaves takes a copy of it along.

Only readers without a policy of their own are in cohorts (``catch_up``): the others' cursors move by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..follow.follower import Batch, Follower

if TYPE_CHECKING:
    from .loop import LoopHub, LoopReader


class Target(Protocol):
    """The far end of a reader: where its bytes go."""

    def push(self, data: bytes) -> bool:
        """Writes; False: it can take no more for now, and goes on alone from behind this write."""

    def finish(self) -> None:
        """The last channel's end was pushed."""


class Cohort:
    """See the module.

    Attributes:
        follower: where all members stand.
        members: their targets, by reader.
        wrote_at: when something was last pushed (`time.monotonic`); members' heartbeats count from here.
    """

    def __init__(self, hub: LoopHub, key: Any, follower: Follower, render: Callable[[Batch], bytes], max_bytes: int):
        self.key = key
        self.follower = follower
        self.members: dict[LoopReader, Target] = {}
        self.wrote_at = 0.0
        self._hub = hub
        self._render = render
        self._max_bytes = max_bytes

    def wake(self) -> None:
        """Pushes everything that is there to every member."""
        follower, members = self.follower, self.members
        while members and (data := self._pull()):
            self.wrote_at = time.monotonic()
            full = [reader for reader, target in members.items() if not target.push(data)]
            for reader in full:
                self.drop(reader, goes_on=True)
            if follower.waits:
                break
        if follower.finished:
            for _, target in self._dissolve():
                target.finish()

    def add(self, reader: LoopReader, target: Target) -> None:
        """A reader in the same state joins; it is no longer woken by itself."""
        self.members[reader] = target
        reader.cohort = self
        reader.follower = self.follower  # its own would be half a kilobyte for the same

    def drop(self, reader: LoopReader, *, goes_on: bool = False) -> None:
        """A reader leaves; if it `goes_on`, alone from where the cohort stands."""
        if self.members.pop(reader, None) is None:
            return
        reader.cohort = None
        if goes_on:
            reader.follower = self.follower.copy()
            self._hub.board.join(reader)
        if not self.members:
            self._hub.dissolve(self)

    def _pull(self) -> bytes:
        """What is there for all of them, rendered; empty if nothing is."""
        try:
            batch = self._hub.board.pull(self.follower, self._max_bytes, shared=False)
            return b"" if batch is None else self._render(batch)
        except BaseException:
            for reader, _ in self._dissolve():
                reader.close()  # its client comes back and resumes; going on would leave a hole
            raise

    def _dissolve(self) -> list[tuple[LoopReader, Target]]:
        left = list(self.members.items())
        self.members.clear()
        for reader, _ in left:
            reader.cohort = None
        self._hub.dissolve(self)
        return left
