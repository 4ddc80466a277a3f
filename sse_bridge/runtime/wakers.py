"""Wake-ups for waiting threads, greenlets and tasks: a flag with one waiter, which any thread may set.

Where gevent has patched threading, one switch from gevent's hub wakes a waiting reader (2 µs; a patched Event or
Condition takes 10–22). Elsewhere a plain lock does: acquire waits, release wakes.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Any, Protocol


class Waker(Protocol):
    """For one waiter at a time; a `wake` before `wait` is remembered, several count as one."""

    def wait(self, seconds: float | None = None) -> None:
        """Returns after a wake, or after `seconds`."""

    def wake(self) -> None:
        """Wakes the waiter; from any thread or greenlet, never blocks."""


class LockWaker:
    """For threads."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self, seconds: float | None = None) -> None:
        self._lock.acquire(timeout=-1 if seconds is None else max(0.0, min(seconds, threading.TIMEOUT_MAX)))

    def wake(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:  # released already: an earlier wake is still remembered
            return


class GreenletWaker:
    """For greenlets; a wake from another native thread goes through the waiter's own gevent hub."""

    __slots__ = ("_get_hub", "_get_ident", "_waiter", "_waiter_class", "_woken")

    def __init__(self) -> None:
        import gevent.hub
        import gevent.monkey

        self._get_hub: Any = gevent.hub.get_hub
        self._get_ident: Any = gevent.monkey.get_original("_thread", "get_ident")
        self._waiter_class: Any = gevent.hub.Waiter
        self._waiter: Any = None
        self._woken = False

    def wait(self, seconds: float | None = None) -> None:
        if not self._woken:
            hub = self._get_hub()
            waiter = self._waiter = self._waiter_class(hub)
            timer = None
            try:
                if not self._woken:  # again: a native thread's wake may have come before `_waiter` was set
                    if seconds is not None:
                        timer = hub.loop.timer(max(0.0, seconds))
                        timer.start(waiter.switch, None, update=True)  # from now, not from the loop's last turn
                    waiter.get()
            finally:
                self._waiter = None
                if timer is not None:
                    timer.stop()
                    timer.close()
        self._woken = False

    def wake(self) -> None:
        self._woken = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            hub = waiter.hub
            if self._get_ident() == hub.thread_ident:
                hub.loop.run_callback(waiter.switch, None)
            else:
                hub.loop.run_callback_threadsafe(waiter.switch, None)


class LoopWaker:
    """Wakes one task of a loop; a wake before the wait is remembered.

    One timer serves a whole stream: events move its next heartbeat on, but not the timer, which fires early and is set
    again. So an event costs no timer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def wake(self) -> None:
        """On the loop's thread."""
        self._woken = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def wake_threadsafe(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self.wake)
        except RuntimeError:  # the loop is closed, and its streams are over
            return

    async def wait(self, until: float) -> None:
        """Waits for a wake, or until `until` (`time.monotonic`). Safe to cancel."""
        if not self._woken:
            self._arm(until)
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._woken = False

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, until: float) -> None:
        if self._timer is None or until < self._timer_at:
            self.disarm()
            self._timer_at = until
            self._timer = self._loop.call_later(max(0.0, until - time.monotonic()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.wake()


def new_waker() -> Waker:
    """A waker for greenlets where gevent has patched threading, else for threads."""
    return GreenletWaker() if gevent_patched() else LockWaker()


def gevent_patched() -> bool:
    """Whether threads are greenlets here; imports nothing."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))
