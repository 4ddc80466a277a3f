"""Policy ``block`` on the memory backend: the holds that publishers check before they append."""

from __future__ import annotations

import weakref
from typing import Protocol, TypeVar

from ..runtime.locks import Lock

Member = TypeVar("Member")  # of a channel: an upstream, or a hold


class Holder(Protocol):
    """The part of the backend that its holds use."""

    holds: dict[str, set[weakref.ref[Hold]]]  # by channel; changed under the lock
    _lock: Lock

    def _room_made(self) -> None:
        """Wakes the publishers that wait for room."""


class Hold:
    """A reader's claim on publishers, which wait while the log is `capacity` entries ahead of the reader's `offset`."""

    __slots__ = ("__weakref__", "_backend", "_channel", "_key", "capacity", "offset")

    def __init__(self, backend: Holder, channel: str, capacity: int, offset: int) -> None:
        self._backend = backend
        self._channel = channel
        self.capacity = capacity
        self.offset = offset
        holds = backend.holds.setdefault(channel, set())
        self._key = weakref.ref(self, holds.discard)  # weak: a reader that failed to open holds nothing up
        holds.add(self._key)

    def advance(self, offset: int) -> None:
        if offset != self.offset:
            self.offset = offset
            self._backend._room_made()

    def release(self) -> None:
        with self._backend._lock:  # a publisher may iterate the holds
            take_out(self._backend.holds, self._channel, self._key)
        self._backend._room_made()


def take_out(members: dict[str, set[Member]], channel: str, member: Member) -> None:
    """Removes one of a channel's members, and the channel with its last one; idempotent."""
    found = members.get(channel)
    if found is not None:
        found.discard(member)
        if not found:
            members.pop(channel, None)
