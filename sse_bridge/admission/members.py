"""The wake and the release of admissions's members on threads and greenlets.

An exception out of a signal handler may end `close` between two of its lines, and the garbage collector may call it
under the hub's own lock: the hub's housekeeping thread closes the member then.
"""

from __future__ import annotations

import weakref
from typing import Protocol

from ..runtime.locks import Lock, held
from ..runtime.owners import Owners
from ..runtime.wakers import new_waker
from .drivers import ThreadAdmissionDriver


class ThreadHost(Protocol):
    """The part of a hub on threads that its members use."""

    lock: Lock
    admission: ThreadAdmissionDriver
    owners: Owners

    @property
    def inherited(self) -> bool: ...

    def work(self) -> None: ...


class ThreadMember:
    """A reader or a source member; one thread waits, any thread may close.

    Attributes:
        closed: the member must not go on; a waiting `wait` returns at once.
        left: everything is released.
        owner: the object that must close the member, see `Owners`.
    """

    __slots__ = ("__weakref__", "_hub", "_waker", "closed", "left", "owner")

    def __init__(self, hub: ThreadHost) -> None:
        self.closed = False
        self.left = False
        self.owner: weakref.ref[object] | None = None
        self._hub = hub
        self._waker = new_waker()

    def wake(self) -> None:
        self._waker.wake()

    def close(self) -> None:
        """Releases everything; idempotent, thread-safe. Nothing is written to the client once it returns.

        A call of the garbage collector under a lock leaves the release to the housekeeping thread.
        """
        if self.left:
            return
        if self._hub.inherited:  # the parent's lock may be held for ever
            self.closed = self.left = True
            return
        if held():
            self.abandon()
            return
        try:
            self._give_back()
            self.left = True
        except BaseException:  # interrupted
            self.abandon()
            raise
        self.wake()

    def abandon(self) -> None:
        """Lets the housekeeping thread close the member; for finalizers, which run anywhere, even under the hub's own
        lock."""
        if not self.left and not self._hub.inherited:
            self._hub.owners.abandon(self)
            self._hub.work()

    def _give_back(self) -> None:
        """Releases everything; an interrupted call is made again, so each step must be repeatable."""
        raise NotImplementedError
