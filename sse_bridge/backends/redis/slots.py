"""The limit of connections per process, counted by live objects.

A counter would be wrong for ever after an exception out of a signal handler skipped its decrement. A slot is taken while
a reference to it exists, so that dropping the last one in any way gives the slot back.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from typing import Final

LOOK_SECONDS: Final = 0.2  # between looks of a waiter, since an interrupted thread may free a slot without a `wake`


class Slot:
    """Room for one connection while a reference to this object exists."""

    __slots__ = ("__weakref__",)


class Slots:
    """A semaphore over at most `limit` `Slot` objects; see the module. Safe for threads and greenlets."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.RLock()  # reentrant: a finalizer may take it on the same thread
        self._taken: dict[weakref.ref[Slot], None] = {}
        self._gone: deque[weakref.ref[Slot]] = deque()  # a dead slot's weakref calls `append`, in C and uninterruptible
        self.waiting: deque[threading.Lock] = deque()

    def take(self) -> Slot | None:
        """A slot; None: all are taken."""
        with self._lock:
            if len(self) >= self._limit:
                return None
            slot = Slot()
            self._taken[weakref.ref(slot, self._gone.append)] = None
        return slot

    def __len__(self) -> int:
        """The number of taken slots."""
        with self._lock:
            while self._gone:
                self._taken.pop(self._gone.popleft(), None)
            return len(self._taken)

    def wake(self) -> None:
        """Something was given back: one waiter looks."""
        with contextlib.suppress(IndexError, RuntimeError):  # no waiter, or one that was woken already
            self.waiting.popleft().release()

    def wait(self, room: threading.Lock, seconds: float) -> None:
        """Waits for a wake; `room` must have been queued before the caller found all slots taken."""
        room.acquire(timeout=min(seconds, LOOK_SECONDS))

    def queue(self) -> threading.Lock:
        """Queues the caller for a wake; a call of `leave` must follow."""
        room = threading.Lock()
        room.acquire()
        self.waiting.append(room)
        return room

    def leave(self, room: threading.Lock) -> None:
        with contextlib.suppress(ValueError):  # `wake` took it out
            self.waiting.remove(room)
