"""A reader on a hub of threads and greenlets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..locks import held
from ..reports import Report, hold_reports, log_reports, take_reports
from .switchboard import log_lag
from .wakers import new_waker

if TYPE_CHECKING:
    from ..follow.follower import Batch, Follower
    from .cohort import Cohort, Rendering, Target
    from .holds import Holds
    from .threads import ThreadHub


class ThreadReader:
    """One follower on this hub; one thread pulls at a time, any thread may close.

    Attributes:
        closed: set by the hub or by `close`; a waiting `wait` returns at once.
        cohort: the readers it shares its work with, under the hub's lock; it is not woken by itself then, nor may pull.
        expelled: its cohort failed somewhere; it must not go on from there, but close, and its client comes back.
    """

    def __init__(self, hub: ThreadHub, follower: Follower, holds: Holds) -> None:
        self.follower = follower
        self.holds = holds
        self.closed = False
        self.cohort: Cohort | None = None
        self.expelled = False
        self._hub = hub
        self._waker = new_waker()

    def pull(self, max_bytes: int) -> Batch | None:
        """What is there now; None: wait.

        Raises:
            SlowReader: the policy is to disconnect.
            BridgeClosed: this is a forked child; the reader is its parent's.
        """
        hub = self._hub
        hub.check_process()
        reports: list[Report] = []
        try:
            with hub.lock:
                hold_reports()
                try:
                    batch = hub.board.pull(self.follower, max_bytes)
                    idle = hub.idle
                finally:
                    reports = take_reports()
        finally:
            log_reports(reports)
        if not idle:
            hub.work()
        log_lag(self.follower)
        self.holds.advance(self.follower)
        return batch

    def gather(self, target: Target, rendering: Rendering) -> bool:
        """From now on the hub writes to `target`, on the thread that brings the news; False: the reader stays alone."""
        return self._hub.gather(self, target, rendering)

    def alone(self, due: Callable[[float], bool]) -> bool:
        """Whether it is in no cohort. A reader whose cohort failed is closed then.

        Args:
            due: told when the cohort wrote last (`time.monotonic`), says whether the reader must leave it now.
        """
        self._hub.check_process()
        with self._hub.lock:
            cohort = self.cohort
            if cohort is not None and due(cohort.wrote_at):
                cohort.drop(self, goes_on=True)
            alone = self.cohort is None
        if self.expelled:
            self.close()
        return alone

    def ready(self) -> bool:
        """Every channel is subscribed and read."""
        self._hub.check_process()
        with self._hub.lock:
            ready = self._hub.board.ready(self.follower) and self._hub.guard.ward.ready(self)
        if not ready:
            self._hub.work()
        return ready

    def wake(self) -> None:
        self._waker.wake()

    def wait(self, until: float | None = None, *, exactly: bool = False) -> None:
        """Waits for a wake, or until `until` (`time.monotonic`).

        Args:
            until: when to return at the latest.
            exactly: with a timer of its own; else up to a tick late, which costs no timer.
        """
        if self.closed:
            return
        if until is None:
            self._waker.wait()
        elif exactly:
            self._waker.wait(until - time.monotonic())
        else:
            self._arm(until)
            self._waker.wait()

    def alarm(self, when: float) -> None:
        """Wakes it now and at `when`: something that it looks at has changed."""
        self._arm(when)
        self.wake()

    def close(self) -> None:
        """Gives everything back; idempotent, from any thread. Nothing is written to its client when it returns.

        Where the garbage collector closes it in the middle of something, the keeper does so a moment later.
        """
        if self.closed:
            return
        if self._hub.inherited:
            self.closed = True
            return
        if held():
            self.abandon()
            return
        with self._hub.lock:  # a pass may be writing to it
            if self.closed:
                return
            self.closed = True
            if self.cohort is not None:
                self.cohort.drop(self)
        self.holds.release()
        self._hub.leave(self)
        self.wake()

    def abandon(self) -> None:
        """For finalizers, which run anywhere, under the hub's own lock too: lets the keeper close it."""
        if not self.closed and not self._hub.inherited:
            self._hub.abandoned.append(self)
            self._hub.work()

    def _arm(self, when: float) -> None:
        with self._hub.lock:
            if not self.closed:
                self._hub.alarms.arm(self, when)
