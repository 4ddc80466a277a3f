"""Readers with the same position and the same request: decided, built and rendered once for all of them.

On the path of a live event a hub's work is one pull per group, and one push per member. A reader is alone while it
catches up or cannot take more, and joins when it stands at the head of all its channels. All members of a group of
shared readers stand at the same place and share one follower; a member that leaves takes a copy of it along.

Only readers without a policy of their own are shared (``catch_up``): the others' cursors move by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from ..events import Entry
from ..follow.batch import Batch
from ..follow.follower import Follower
from .state import HubState, Reader


class Pushed(Reader, Protocol):
    """A reader that may be in a group of shared readers, where `wake` is not called for it.

    Attributes:
        shared: the readers it shares its work with.
    """

    shared: SharedReaders | None


class Target(Protocol):
    """The far end of a reader: where its bytes go. Nothing here waits, nor takes the hub's lock."""

    def push(self, data: bytes) -> bool:
        """Writes; False: the target takes no more for now, and its reader goes on alone behind this write."""

    def finish(self) -> None:
        """Ends the stream, whose last channel's end was pushed."""


class Rendering(Protocol):
    """Makes the bytes of batches and entries; see streams/channels/script.py."""

    @property
    def name(self) -> str:
        """The format's name; readers of the same name get the same bytes."""

    @property
    def entry(self) -> Callable[[str, Entry, bytes | None], bytes]:
        """The frame of an entry on a channel, with the id behind it."""

    def batch(self, batch: Batch) -> bytes:
        """The frames of a batch."""


class SharedReaders:
    """See the module.

    Attributes:
        follower: the position of all members.
        members: targets by reader.
        wrote_at: the time of the last push (`time.monotonic`), from which members' heartbeats count.
    """

    __slots__ = ("_groups", "_rendering", "follower", "key", "members", "wrote_at")

    def __init__(self, groups: AllSharedReaders, key: Any, follower: Follower, rendering: Rendering) -> None:
        self.key = key
        self.follower = follower
        self.members: dict[Any, Target] = {}
        self.wrote_at = 0.0
        self._groups = groups
        self._rendering = rendering

    def wake(self) -> None:
        """Pushes all pending deliveries to every member."""
        follower, members = self.follower, self.members
        while members and (data := self._pull()) is not None:
            if data:
                self._push(data)
            if follower.waits:
                break
        if follower.cursors[0].ended and follower.finished:  # mostly not, and without a call for each event
            for _, target in self._disband():
                target.finish()

    def add(self, reader: Pushed, target: Target) -> None:
        """Adds a reader in the same state, which is no longer woken by itself."""
        self.members[reader] = target
        reader.shared = self
        reader.follower = self.follower  # a follower of its own takes half a kilobyte

    def drop(self, reader: Pushed, *, goes_on: bool = False) -> None:
        """Removes a reader; one that `goes_on` gets a follower of its own at the group's position."""
        if reader.shared is not self:
            return
        if goes_on:
            reader.follower = self.follower.copy()
            self._groups.state.join(reader)
        self.members.pop(reader, None)
        if not self.members:
            self._groups.disband(self)
        reader.shared = None  # last: where an exception ends this early, the reader's close does it again

    def _push(self, data: bytes) -> None:
        self.wrote_at = time.monotonic()
        full = None
        try:
            for reader, target in self.members.items():
                if not target.push(data):
                    full = [reader] if full is None else [*full, reader]
        except BaseException:
            self._fail()  # any member may have missed `data`
            raise
        if full is not None:
            for reader in full:
                self.drop(reader, goes_on=True)

    def _pull(self) -> bytes | None:
        """The pending deliveries, rendered, which may be empty in the format; None: none are pending."""
        groups, rendering = self._groups, self._rendering
        try:
            frames = self.follower.flow(groups.max_write_bytes, rendering.entry)
            if frames:
                return frames[0] if len(frames) == 1 else b"".join(frames)
            batch = groups.state.pull(self.follower, groups.max_write_bytes, shared=False)
            return None if batch is None else rendering.batch(batch)
        except BaseException:
            self._fail()
            raise

    def _fail(self) -> None:
        """Closes all members, whose clients reconnect and resume; going on would leave a gap."""
        for reader, _ in self._disband():
            self._groups.fail(reader)

    def _disband(self) -> list[tuple[Any, Target]]:
        left = list(self.members.items())
        self.members.clear()
        for reader, _ in left:
            reader.shared = None
        self._groups.disband(self)
        return left


class AllSharedReaders:
    """The groups of shared readers of a hub, under its serialisation.

    Args:
        fail: closes a reader that cannot go on, and takes no lock of the hub's.
    """

    def __init__(self, state: HubState, max_write_bytes: int, fail: Callable[[Any], None]) -> None:
        self.state = state
        self.max_write_bytes = max_write_bytes
        self.fail = fail
        self._by_key: dict[Any, SharedReaders] = {}

    def join(self, reader: Pushed, target: Target, rendering: Rendering) -> bool:
        """Puts a reader that stands at the head of all its channels among shared readers; False if it must stay alone."""
        self.state.mend()
        follower = reader.follower
        if not follower.at_head:
            return False
        key = (follower.group, rendering.name)
        shared = self.standing(key)
        if shared is not None:
            shared.wake()  # the group may not have pulled the reader's last delivery yet
            shared = self._by_key.get(key)
        if shared is not None and shared.follower.state != follower.state:
            return False
        try:
            if shared is None:
                follower.forget_entries()  # a group may stay in one place for long
                shared = SharedReaders(self, key, follower, rendering)
                self._by_key[key] = shared
                self.state.join(shared)
            # Before `add`, which replaces the reader's own follower.
            self.state.leave(reader, time.monotonic())
            shared.add(reader, target)
        except BaseException:
            if shared is not None and not shared.members:
                self.disband(shared)
            raise
        return True

    def standing(self, key: Any) -> SharedReaders | None:
        """The group of a group and a rendering's name, which has members."""
        shared = self._by_key.get(key)
        if shared is not None and not shared.members:  # its first member was ended on its way in
            self.disband(shared)
            return None
        return shared

    def disband(self, shared: SharedReaders) -> None:
        """The group's last member left."""
        if self._by_key.get(shared.key) is shared:
            del self._by_key[shared.key]
        self.state.leave(shared, time.monotonic())

    def readers(self) -> list[Any]:
        """All readers of the hub, alone or in a group."""
        return [reader for reader in self.state.readers() if not isinstance(reader, SharedReaders)] + self.members()

    def members(self) -> list[Any]:
        """The readers that share."""
        return [reader for shared in self._by_key.values() for reader in shared.members]
