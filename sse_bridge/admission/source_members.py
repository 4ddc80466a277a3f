"""Streams that follow no channel on the hub and can be revoked all the same: a user's iterable as a response.

A source member is a member of the hub's admissions with a user and without channels: like a reader it is judged at the
opening, hears of a revocation, and holds a lease. A source member costs no thread, task or timer, and nothing per item.
While a source member is there the hub keeps its link, even without a reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref

from .admissions import Endable
from .drivers import LoopAdmissionDriver
from .members import ThreadHost, ThreadMember


class LoopSourceMember:
    """A source member of a hub on a loop.

    Attributes:
        closed: the member has left.
    """

    __slots__ = ("_admission", "_stream", "_waiter", "closed")

    def __init__(self, admission: LoopAdmissionDriver, stream: Endable) -> None:
        self.closed = False
        self._admission = admission
        self._stream = weakref.ref(stream)  # weak: a stream that its server forgot ends by its finalizer
        self._waiter: asyncio.Future[None] | None = None

    def ready(self) -> bool:
        """Whether the admissions know if the user is revoked."""
        return self._admission.state.ready(self)

    def refusal(self) -> None:
        """None, since a source member follows no channel that could be refused; the twin of `LoopReader.refusal`."""

    async def wait(self, until: float) -> None:
        """Waits for a wake, or until `until` (`time.monotonic`), with a timer of its own. Safe to cancel."""
        if self.closed:
            return
        loop = self._admission.loop
        # Not wait_for, which may swallow a cancel that comes together with a wake.
        self._waiter = loop.create_future()
        timer = loop.call_later(until - time.monotonic(), self.wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Releases everything; idempotent. On the hub's loop only."""
        if not self.closed:
            self.closed = True
            if self._admission.state.leave(self):
                self._admission.work()
            self.wake()

    def abandon(self) -> None:
        """Lets the loop close the member; for finalizers and other threads."""
        loop = self._admission.loop
        if not self.closed and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop was closed just now
                loop.call_soon_threadsafe(self.close)

    def hub_closed(self) -> None:
        """Ends the stream of a closing hub, which would hear of no revocation any more."""
        self.close()
        _hub_closed(self._stream())


class ThreadSourceMember(ThreadMember):
    """A source member of a hub on threads and greenlets; thread-safe, but one thread waits."""

    __slots__ = ("_stream",)

    def __init__(self, hub: ThreadHost, stream: Endable) -> None:
        super().__init__(hub)
        self._stream = weakref.ref(stream)

    def ready(self) -> bool:
        """The twin of `LoopSourceMember.ready`."""
        with self._hub.lock:
            return self._hub.admission.state.ready(self)

    def refusal(self) -> None:
        """The twin of `LoopSourceMember.refusal`."""

    def wait(self, until: float) -> None:
        """Waits for a wake, or until `until` (`time.monotonic`)."""
        if not self.closed:
            self._waker.wait(until - time.monotonic())

    def hub_closed(self) -> None:
        """The twin of `LoopSourceMember.hub_closed`."""
        self.close()
        _hub_closed(self._stream())

    def _give_back(self) -> None:
        self.closed = True
        with self._hub.lock:
            released = self._hub.admission.state.leave(self)
            self._hub.owners.disown(self)
        if released:
            self._hub.work()


def _hub_closed(stream: Endable | None) -> None:
    if stream is not None:
        stream.end_by(time.monotonic(), "unavailable")
