"""Streams that follow no channel on the hub and may be told to end all the same: a user's iterable as a response.

A guest is a member of the hub's ward like a reader, with a user and without channels: it is asked for at the opening
like one, hears of a revocation like one, and holds a lease like one. It costs no thread, task or timer, and nothing per
item. While a guest is there the hub keeps its link, even if nobody follows a channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from typing import TYPE_CHECKING

from ..locks import held
from .wakers import new_waker

if TYPE_CHECKING:
    from .guards import Refused
    from .loop import LoopHub
    from .threads import ThreadHub
    from .ward import Stay


class LoopGuest:
    """On the hub's loop.

    Attributes:
        closed: it has left.
    """

    __slots__ = ("_hub", "_stream", "_waiter", "closed")

    def __init__(self, hub: LoopHub, stream: Stay) -> None:
        self.closed = False
        self._hub = hub
        self._stream = weakref.ref(stream)  # a stream that its server forgot ends with its finalizer
        self._waiter: asyncio.Future[None] | None = None

    async def admit(self, seconds: float) -> Refused | None:
        """Whether the stream may open; waits for that at most so many seconds, and for a lease if it needs one."""
        until = time.monotonic() + seconds
        while not self._hub.guard.ward.ready(self):
            left = until - time.monotonic()
            if left <= 0:
                return "unavailable"
            # not wait_for, which may take a cancel that comes together with a wake for the wake
            self._waiter = self._hub.loop.create_future()
            timer = self._hub.loop.call_later(left, self.wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        return "unavailable" if self.closed else await self._hub.guard.admit(self)

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Gives everything back; idempotent. On the hub's loop only."""
        if not self.closed:
            self.closed = True
            if self._hub.guard.ward.leave(self):
                self._hub.guard.work()
            self.wake()

    def abandon(self) -> None:
        """For finalizers and other threads: lets the loop close it."""
        loop = self._hub.loop
        if not self.closed and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it was closed just now
                loop.call_soon_threadsafe(self.close)

    def dismiss(self) -> None:
        """The hub closes: nobody would hear of a revocation any more."""
        self.close()
        _dismiss(self._stream())


class ThreadGuest:
    """Of a hub on threads and greenlets; from any thread, `admit` from one.

    Attributes:
        closed: it has left.
    """

    __slots__ = ("__weakref__", "_hub", "_stream", "_waker", "closed")

    def __init__(self, hub: ThreadHub, stream: Stay) -> None:
        self.closed = False
        self._hub = hub
        self._stream = weakref.ref(stream)
        self._waker = new_waker()

    def admit(self, seconds: float) -> Refused | None:
        """The twin of `LoopGuest.admit`."""
        until = time.monotonic() + seconds
        while not self._ready():
            left = until - time.monotonic()
            if left <= 0:
                return "unavailable"
            self._waker.wait(left)
        return "unavailable" if self.closed else self._hub.guard.admit(self)

    def wake(self) -> None:
        self._waker.wake()

    def close(self) -> None:
        """Gives everything back; idempotent."""
        if self.closed:
            return
        if self._hub.inherited:  # its lock may be held for ever
            self.closed = True
            return
        if held():  # as for a reader
            self.abandon()
            return
        self.closed = True
        with self._hub.lock:
            released = self._hub.guard.ward.leave(self)
        if released:
            self._hub.work()
        self.wake()

    def abandon(self) -> None:
        """For finalizers, which run anywhere, under the hub's own lock too: lets the keeper close it."""
        if not self.closed and not self._hub.inherited:
            self._hub.abandoned.append(self)
            self._hub.work()

    def dismiss(self) -> None:
        """The twin of `LoopGuest.dismiss`."""
        self.close()
        _dismiss(self._stream())

    def _ready(self) -> bool:
        with self._hub.lock:
            return self._hub.guard.ward.ready(self)


def _dismiss(stream: Stay | None) -> None:
    if stream is not None:
        stream.end_by(time.monotonic(), "unavailable")
