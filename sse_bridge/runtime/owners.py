"""Owners of a thread hub's readers and source members, which are closed when their owner is gone.

An exception out of a signal handler may end any call of a reader's thread between two lines. So a call enters its member
here before it registers it with the hub, under a weak reference to the object that shall close it; that object's end puts
the reference where the hub's housekeeping thread finds it, by one call in C, which cannot be interrupted.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import Protocol


class Owned(Protocol):
    """A reader or a source member; `close` may be called again after an exception ended it early."""

    owner: weakref.ref[object] | None  # the member's key in `Owners`

    def close(self) -> None: ...


class Owners:
    """Members by owner. Call `own` and `disown` under the hub's lock, `abandon` anywhere, `take_back` in the
    housekeeping thread."""

    def __init__(self) -> None:
        self._owned: dict[weakref.ref[object], Owned] = {}
        self._orphans: deque[weakref.ref[object]] = deque()
        self._abandoned: deque[Owned] = deque()

    def __len__(self) -> int:
        """The number of members with an owner."""
        return len(self._owned)

    def own(self, owner: object, member: Owned) -> None:
        """Enters `member`, to be closed soon after `owner` ends; with an owner of None does nothing."""
        if owner is not None:
            key = weakref.ref(owner, self._orphans.append)
            member.owner = key
            self._owned[key] = member

    def disown(self, member: Owned) -> None:
        """Removes a closed member. Idempotent."""
        if member.owner is not None:
            self._owned.pop(member.owner, None)

    def abandon(self, member: Owned) -> None:
        """Lets the housekeeping thread close `member`, even one with an owner."""
        self._abandoned.append(member)

    def take_back(self) -> None:
        """Closes abandoned members, and those whose owner has ended."""
        while self._orphans:
            orphan = self._owned.get(self._orphans.popleft())
            if orphan is not None:
                orphan.close()
        while self._abandoned:
            self._abandoned.popleft().close()
