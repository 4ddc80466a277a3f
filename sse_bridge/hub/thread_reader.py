"""A reader on a hub of threads and greenlets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ..admission.members import ThreadHost, ThreadMember
from ..errors import SSEBridgeError
from ..follow.batch import Batch, Step
from ..follow.cursor import NOWHERE
from ..follow.follower import Follower
from ..follow.subscribe_request import SubscribeRequest
from ..runtime.locks import refuse_within
from ..runtime.reports import Report, hold_reports, log_reports, take_reports
from .holds import Hold, report_progress
from .schedule import Alarms
from .shared_readers import AllSharedReaders, Rendering, SharedReaders, Target
from .state import HubState


class ReaderHost(ThreadHost, Protocol):
    """The part of a hub on threads that its readers use."""

    state: HubState
    alarms: Alarms[ThreadReader]
    shared_readers: AllSharedReaders

    def check_process(self) -> None: ...

    def leave(self, reader: ThreadReader) -> None: ...


class ThreadReader(ThreadMember):
    """One follower on this hub; one thread pulls at a time, any thread may close.

    Attributes:
        began: the id of the position before the first batch; empty before that.
        moving: the follower may be ahead of its user's last batch, from `pull` until the user confirms.
        steps: the positions when its user last took a batch; None: none yet.
        shared: the readers it shares its work with, under the hub's lock; in one it is not woken, nor may pull.
        failed: its group failed, so the reader must close, and its client reconnects.
    """

    _hub: ReaderHost

    def __init__(self, hub: ReaderHost, request: SubscribeRequest, follower: Follower, holds: Sequence[Hold]) -> None:
        super().__init__(hub)
        self.follower = follower
        self.holds = holds
        self.began = b""
        self.moving = False
        self.steps: list[Step] | None = None
        self._request = request
        self.shared: SharedReaders | None = None
        self.failed = False

    def pull(self, max_bytes: int) -> Batch | None:
        """The batch of pending deliveries; None: wait.

        Raises:
            SlowReader: the policy is to disconnect.
            BridgeClosed: the process is a forked child, and the reader its parent's.
        """
        hub = self._hub
        hub.check_process()
        refuse_within(hub.lock)
        reports: list[Report] = []
        try:
            with hub.lock:
                self.moving = True
                self.began = self.began or self.follower.id()
                hold_reports()
                try:
                    batch = hub.state.pull(self.follower, max_bytes)
                    idle = not hub.state.reads_due
                finally:
                    reports = take_reports()
        finally:
            log_reports(reports)
        if not idle:
            hub.work()
        if self.follower.cursors[0].pace.policy != "catch_up":  # else the reader skips nothing and holds nobody
            report_progress(self.follower, self.holds)
        return batch

    def stands(self) -> None:
        """Notes that the last `pull` returned nothing, so that the user's position is the follower's."""
        if self.steps is None:
            self._remember()
        self.moving = False

    def rewind(self) -> None:
        """Undoes a pull that an exception ended early, so that no delivery is lost or comes twice."""
        with self._hub.lock:
            self._hub.state.leave(self, time.monotonic())
            self.follower = self._hub.state.follower(self._request, self.follower, self.steps)
            self._hub.state.join(self)
            self.moving = False

    def join_shared(self, target: Target, rendering: Rendering) -> bool:
        """Lets the hub write to `target`, on the thread that brings live messages; False: the reader stays alone."""
        self._hub.check_process()
        refuse_within(self._hub.lock)
        reports: list[Report] = []
        try:
            with self._hub.lock:
                if self.closed:
                    return False
                hold_reports()
                try:
                    return self._hub.shared_readers.join(self, target, rendering)
                finally:
                    reports = take_reports()
        finally:
            log_reports(reports)

    def alone(self, due: Callable[[float], bool]) -> bool:
        """Whether the reader is not shared; closes a reader whose group failed.

        Args:
            due: gets the time of the group's last write (`time.monotonic`); True: the reader must leave the group.
        """
        self._hub.check_process()
        with self._hub.lock:
            shared = self.shared
            if shared is not None and due(shared.wrote_at):
                shared.drop(self, goes_on=True)
            alone = self.shared is None
        if self.failed:
            self.close()
        return alone

    def ready(self) -> bool:
        """Whether every channel is subscribed and read."""
        self._hub.check_process()
        refuse_within(self._hub.lock)
        if self.moving:
            self.rewind()
        with self._hub.lock:
            self.moving = True
            ready = self._hub.state.ready(self.follower) and self._hub.admission.state.ready(self)
        if ready and self.steps is None:
            self._remember()
        self.moving = False
        if not ready:
            self._hub.work()
        return ready

    def refusal(self) -> SSEBridgeError | None:
        """The lasting error for which the reader will not become `ready`; None: it may be any moment."""
        return self._hub.state.refusal(self.follower)

    def wait(self, until: float | None = None, *, exactly: bool = False) -> None:
        """Waits for a wake, or until `until` (`time.monotonic`).

        Args:
            until: the latest moment to return.
            exactly: with a timer of its own; else up to a tick late, without one.
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
        """Wakes the reader now and at `when`, after its stream's end has moved."""
        self._arm(when)
        self.wake()

    def _give_back(self) -> None:
        with self._hub.lock:  # the hub may be writing to the client
            self.closed = True
            if self.shared is not None:
                self.shared.drop(self)
        for hold in self.holds:
            hold.release()
        self._hub.leave(self)

    def _remember(self) -> None:
        """Keeps the positions, once all are known, since a start word must not be resolved a second time."""
        cursors = self.follower.cursors
        if all([cursor.point is not None or cursor.ended for cursor in cursors]):
            self.steps = [Step(NOWHERE, cursor.point, cursor.ended, 0, False) for cursor in cursors]

    def _arm(self, when: float) -> None:
        with self._hub.lock:
            if not self.closed:
                self._hub.alarms.arm(self, when)
