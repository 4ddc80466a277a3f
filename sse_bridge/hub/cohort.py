"""Readers that have seen exactly the same and want the same: decided, built and rendered once for all of them.

On the path of a live event a hub's work is one pull per cohort, and one push per member. A member is on its own while it
catches up or cannot take more; whoever stands at the head of all its channels joins. Since all members of a cohort
stand at the same place, one follower is theirs together; a member that leaves takes a copy of it along.

Only readers without a policy of their own are in cohorts (``catch_up``): the others' cursors move by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from ..events import Entry
from ..follow.follower import Batch, Follower
from .switchboard import Reader, Switchboard


class Pushed(Reader, Protocol):
    """A reader that may be in a cohort; by itself it is not woken then.

    Attributes:
        cohort: the readers it shares its work with.
    """

    cohort: Cohort | None


class Target(Protocol):
    """The far end of a reader: where its bytes go. Nothing here waits, nor takes the hub's lock."""

    def push(self, data: bytes) -> bool:
        """Writes; False: it can take no more for now, and goes on alone from behind this write."""

    def finish(self) -> None:
        """The last channel's end was pushed."""


class Rendering(Protocol):
    """How bytes are made; see streams/rendering.py."""

    @property
    def name(self) -> str:
        """Readers with the same one get the same bytes."""

    @property
    def entry(self) -> Callable[[str, Entry, bytes | None], bytes]:
        """The frame of an entry on a channel, with the id behind it."""

    def batch(self, batch: Batch) -> bytes:
        """The frames of a batch."""


class Cohort:
    """See the module.

    Attributes:
        follower: where all members stand.
        members: their targets, by reader.
        wrote_at: when something was last pushed (`time.monotonic`); members' heartbeats count from here.
    """

    def __init__(self, cohorts: Cohorts, key: Any, follower: Follower, rendering: Rendering) -> None:
        self.key = key
        self.follower = follower
        self.members: dict[Any, Target] = {}
        self.wrote_at = 0.0
        self._cohorts = cohorts
        self._rendering = rendering

    def wake(self) -> None:
        """Pushes everything that is there to every member."""
        follower, members = self.follower, self.members
        while members and (data := self._pull()) is not None:
            if data:
                self._push(data)
            if follower.waits:
                break
        if follower.finished:
            for _, target in self._dissolve():
                target.finish()

    def add(self, reader: Pushed, target: Target) -> None:
        """A reader in the same state joins; it is no longer woken by itself."""
        self.members[reader] = target
        reader.cohort = self
        reader.follower = self.follower  # its own would be half a kilobyte for the same

    def drop(self, reader: Pushed, *, goes_on: bool = False) -> None:
        """A reader leaves; if it `goes_on`, alone from where the cohort stands."""
        if self.members.pop(reader, None) is None:
            return
        reader.cohort = None
        if goes_on:
            reader.follower = self.follower.copy()
            self._cohorts.board.join(reader)
        if not self.members:
            self._cohorts.dissolve(self)

    def _push(self, data: bytes) -> None:
        self.wrote_at = time.monotonic()
        full = None
        try:
            for reader, target in self.members.items():
                if not target.push(data):
                    full = [reader] if full is None else [*full, reader]
        except BaseException:
            self._expel()  # nobody knows who has it
            raise
        if full is not None:
            for reader in full:
                self.drop(reader, goes_on=True)

    def _pull(self) -> bytes | None:
        """What is there for all of them, rendered, which may come to nothing; None if nothing is."""
        cohorts, rendering = self._cohorts, self._rendering
        try:
            frames = self.follower.flow(cohorts.max_write_bytes, rendering.entry)
            if frames:
                return frames[0] if len(frames) == 1 else b"".join(frames)
            batch = cohorts.board.pull(self.follower, cohorts.max_write_bytes, shared=False)
            return None if batch is None else rendering.batch(batch)
        except BaseException:
            self._expel()
            raise

    def _expel(self) -> None:
        """Their clients come back and resume; going on would leave a hole."""
        for reader, _ in self._dissolve():
            self._cohorts.expel(reader)

    def _dissolve(self) -> list[tuple[Any, Target]]:
        left = list(self.members.items())
        self.members.clear()
        for reader, _ in left:
            reader.cohort = None
        self._cohorts.dissolve(self)
        return left


class Cohorts:
    """The cohorts of a hub, under its serialisation.

    Args:
        expel: closes a reader that cannot go on, and takes no lock of the hub's.
    """

    def __init__(self, board: Switchboard, max_write_bytes: int, expel: Callable[[Any], None]) -> None:
        self.board = board
        self.max_write_bytes = max_write_bytes
        self.expel = expel
        self._cohorts: dict[Any, Cohort] = {}

    def gather(self, reader: Pushed, target: Target, rendering: Rendering) -> bool:
        """Puts a reader that stands at the head of all its channels into a cohort; False if it must stay alone."""
        follower = reader.follower
        if not follower.settled:
            return False
        key = (follower.group, rendering.name)
        cohort = self._cohorts.get(key)
        if cohort is not None:
            cohort.wake()  # what the reader has seen just now may still be ahead of it
            cohort = self._cohorts.get(key)
        if cohort is None:
            cohort = Cohort(self, key, follower.copy(), rendering)
            self._cohorts[key] = cohort
            self.board.join(cohort)
        elif cohort.follower.state != follower.state:
            return False
        self.board.leave(reader, time.monotonic())  # with a follower of its own, which the cohort's takes the place of
        cohort.add(reader, target)
        return True

    def dissolve(self, cohort: Cohort) -> None:
        """The cohort's last member left."""
        if self._cohorts.get(cohort.key) is cohort:
            del self._cohorts[cohort.key]
        self.board.leave(cohort, time.monotonic())

    def members(self) -> list[Any]:
        """The readers in cohorts."""
        return [reader for cohort in self._cohorts.values() for reader in cohort.members]

    def sizes(self) -> list[int]:
        """How many readers are in each."""
        return sorted(len(cohort.members) for cohort in self._cohorts.values())
