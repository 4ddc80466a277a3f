"""Members of a hub's admissions: the wake and release of readers on threads, and streams that follow no channel.

An exception out of a signal handler may end any call between two of its lines, also between a member's registration and
its return; and the garbage collector may call `ThreadMember.close` under the hub's own lock. The hub's housekeeping thread
closes the member then. So a member is entered in `Owners` before it is registered, under a weak reference to the object that
shall close it; that object's end puts the reference where the thread finds it, by one call in C, which cannot be interrupted.

A source member, of a user's iterable as a response, has a user and no channels: like a reader it is judged at the opening,
hears of a revocation, and holds a lease. It costs no thread, task or timer, and nothing per item. While a source member is
there the hub keeps its link, even without a reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections import deque
from typing import Protocol

from ..runtime.locks import Lock, held
from ..runtime.wakers import new_waker
from .admissions import Endable
from .drivers import LoopAdmissionDriver, ThreadAdmissionDriver


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
        owner: the member's key in `Owners`.
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


class LoopSourceMember:
    """A source member of a hub on a loop.

    Attributes:
        closed: the member has left.
    """

    __slots__ = ("_admission", "_waiter", "closed")

    def __init__(self, admission: LoopAdmissionDriver) -> None:
        self.closed = False
        self._admission = admission
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


class ThreadSourceMember(ThreadMember):
    """A source member of a hub on threads and greenlets; thread-safe, but one thread waits."""

    __slots__ = ("_stream",)

    def __init__(self, hub: ThreadHost, stream: Endable) -> None:
        super().__init__(hub)
        self._stream = weakref.ref(stream)  # weak: a stream that its server forgot ends by its finalizer

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
        """Ends the stream of a closing hub, which would hear of no revocation any more."""
        self.close()
        stream = self._stream()
        if stream is not None:
            stream.end_by(time.monotonic(), "unavailable")

    def _give_back(self) -> None:
        self.closed = True
        with self._hub.lock:
            released = self._hub.admission.state.leave(self)
            self._hub.owners.disown(self)
        if released:
            self._hub.work()


class Owners:
    """Members by owner. Call `own` and `disown` under the hub's lock, `abandon` anywhere, `take_back` in the
    housekeeping thread."""

    def __init__(self) -> None:
        self._owned: dict[weakref.ref[object], ThreadMember] = {}
        self._orphans: deque[weakref.ref[object]] = deque()
        self._abandoned: deque[ThreadMember] = deque()

    def __len__(self) -> int:
        """The number of members with an owner."""
        return len(self._owned)

    def own(self, owner: object, member: ThreadMember) -> None:
        """Enters `member`, to be closed soon after `owner` ends; with an owner of None does nothing."""
        if owner is not None:
            key = weakref.ref(owner, self._orphans.append)
            member.owner = key
            self._owned[key] = member

    def disown(self, member: ThreadMember) -> None:
        """Removes a closed member. Idempotent."""
        if member.owner is not None:
            self._owned.pop(member.owner, None)

    def abandon(self, member: ThreadMember) -> None:
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
