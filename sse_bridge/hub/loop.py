"""The hub on asyncio: one per bridge and running loop. Everything here runs on that loop.

Readers wait for `wake`; the upstream's task (or the memory backend's call) brings live messages; reads of the log are
short tasks, a few at once; one timer ticks once a second while there are feeds. A failed read is tried again after the
state's pause. When the last lingering channel is gone the upstream closes, and no timer or task is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from typing_extensions import override

from ..admission.admissions import Endable
from ..admission.contract import CONTROL
from ..admission.drivers import LoopAdmissionDriver
from ..admission.members import LoopSourceMember
from ..backends.base import AsyncBackend, Upstream
from ..config import Settings
from ..errors import SSEBridgeError
from ..follow.batch import Batch
from ..follow.follower import Follower
from ..follow.subscribe_request import SubscribeRequest
from ..records.continuity import Page
from .holds import Hold, holds_of, report_progress
from .resumption import Resumption, find_resumption
from .schedule import Alarms
from .shared_readers import AllSharedReaders, Rendering, SharedReaders, Target
from .state import HubState, Read, Reader
from .tally import Tally
from .windows import WindowBudget

TICK_SECONDS: Final = 1.0

logger = logging.getLogger("sse_bridge.hub")


class LoopReader:
    """One follower on this hub. Not safe for concurrent use: one task pulls at a time.

    Attributes:
        closed: set by the hub or by `close`; a waiting `wait` returns at once.
        shared: the readers it shares its work with; in one it is not woken.
        on_wake: called by `wake` instead of ending a `wait`; for pushed readers.
    """

    __slots__ = ("_hub", "_waiter", "_woken", "closed", "follower", "holds", "on_wake", "shared")

    def __init__(self, hub: LoopHub, follower: Follower) -> None:
        self.follower = follower
        self.holds: Sequence[Hold] = ()
        self.closed = False
        self.shared: SharedReaders | None = None
        self.on_wake: Callable[[], None] | None = None
        self._hub = hub
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None

    def pull(self, max_bytes: int) -> Batch | None:
        """The batch of pending deliveries; None: wait."""
        hub, follower = self._hub, self.follower
        batch = hub.state.pull(follower, max_bytes)
        if batch is None and hub.state.wanted:
            hub.work()
        if follower.cursors[0].pace.policy != "catch_up":  # else the reader skips nothing and holds nobody
            report_progress(follower, self.holds)
        return batch

    def ready(self) -> bool:
        """Whether every channel is subscribed and read."""
        hub = self._hub
        ready = hub.state.ready(self.follower) and hub.admission.state.ready(self)
        if not ready and hub.state.wanted:
            hub.work()
        return ready

    def refusal(self) -> SSEBridgeError | None:
        """The lasting error for which the reader will not become `ready`; None: it may be any moment."""
        return self._hub.state.refusal(self.follower)

    def wake(self) -> None:
        if self.on_wake is not None:
            self.on_wake()
            return
        self._woken = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self, until: float | None = None) -> None:
        """Waits for a wake, or until `until` (`time.monotonic`; up to a tick late). Safe to cancel."""
        if not self._woken and not self.closed:
            if until is not None:
                self._hub.alarms.arm(self, until)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._woken = False

    def close(self) -> None:
        """Releases everything; idempotent. On the hub's loop only."""
        if not self.closed:
            self.closed = True
            for hold in self.holds:
                hold.release()
            self._hub.leave(self)
            self.wake()

    def abandon(self) -> None:
        """Lets the loop close the reader; for finalizers and other threads."""
        loop = self._hub.loop
        if not self.closed and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop was closed just now
                loop.call_soon_threadsafe(self.close)


class _ReturningReader(LoopReader):
    """A reader that is about to write a resumption's bytes, whose channels are subscribed and read."""

    __slots__ = ()

    @override
    def ready(self) -> bool:
        return True


class LoopHub:
    """See the module.

    Attributes:
        lock: guards nothing, for everything here runs on the loop; it lets code without a colour serve both hubs.
    """

    def __init__(
        self, backend: AsyncBackend, settings: Settings, tally: Tally | None = None, budget: WindowBudget | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.lock = contextlib.nullcontext()
        self.state = HubState(settings, tally, getattr(backend, "server_of", None), budget)
        self.announced = self.state.announced  # a method of the Sink would cost a call more for each event
        self.alarms: Alarms[LoopReader] = Alarms()
        self.closed = False
        self.shared_readers = AllSharedReaders(self.state, settings.max_write_bytes, LoopReader.close)
        self._backend = backend
        self.admission = LoopAdmissionDriver(self.lock, backend, settings)
        self.control_message = self.admission.control_message
        self._upstream: Upstream | None = None
        self._reading: dict[asyncio.Task[None], list[Read]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_at = 0.0

    def readers(self) -> int:
        """The number of readers on this hub, shared or alone."""
        return len(self.shared_readers.readers())

    def behind(self) -> int:
        """The entries by which the slowest reader is behind the head; a pushed reader stands with its group."""
        return max((reader.follower.behind for reader in self.state.readers()), default=0)

    def enter(
        self,
        request: SubscribeRequest,
        stream: Endable | None = None,
        user: str | None = None,
        replaces: LoopReader | None = None,
    ) -> LoopReader:
        """A new reader, on this loop.

        Args:
            stream: a client's, which can be revoked and limited; None: server code reads.
            user: the stream's user.
            replaces: the reader of the same connection that the new one replaces.
        """
        reader = LoopReader(self, self.state.follower(request))
        if request.policy == "block":
            reader.holds = holds_of(self._backend, request)
        self.state.join(reader)
        try:
            if stream is not None:
                self.admission.state.join(reader, user, request.channels, stream, replaces)
            self._subscribe()
        except BaseException:
            reader.close()
            raise
        return reader

    def resume(self, request: SubscribeRequest, rendering: Rendering, user: str | None) -> Resumption | None:
        """See `find_resumption`; None, too, for a stream that may have to wait before it opens."""
        if self.closed or (user is not None and self.admission.state.user_may_wait):
            return None
        return find_resumption(self.shared_readers, request, rendering)

    def reenter(self, resumption: Resumption, stream: Endable, user: str | None) -> LoopReader:
        """A new reader that is about to write the resumption's bytes; `settle` must follow before any await.

        Nothing is subscribed, since the members of the group that it leads to have done so.
        """
        reader = _ReturningReader(self, resumption.follower)
        self.admission.state.join(reader, user, resumption.request.channels, stream)
        return reader

    def settle(self, reader: LoopReader, target: Target, resumption: Resumption, *, written: bool) -> bool:
        """See `Resumption.settle`."""
        if self.closed:  # meanwhile: nobody knew of the reader
            reader.close()
            return False
        return resumption.settle(reader, target, self.state, written=written)

    def register_source(self, user: str, stream: Endable) -> LoopSourceMember:
        """A new source member: a user's stream that follows no channel here."""
        member = LoopSourceMember(self.admission)
        self.admission.state.join(member, user, (), stream)
        try:
            if self.admission.state.supported:
                self._subscribe()
        except BaseException:
            member.close()
            raise
        return member

    def leave(self, reader: LoopReader) -> None:
        if reader.shared is not None:
            reader.shared.drop(reader)
        self.state.leave(reader, time.monotonic())
        self.alarms.disarm(reader)
        if self.admission.state.leave(reader):
            self.admission.work()

    def join_shared(self, reader: LoopReader, target: Target, rendering: Rendering) -> bool:
        """See `AllSharedReaders.join`."""
        return not reader.closed and self.shared_readers.join(reader, target, rendering)

    def work(self) -> None:
        """Starts the reads that are due."""
        while not self.closed and (due := self.state.reads(time.monotonic())):
            task = self.loop.create_task(self._read(due))
            if not task.done():  # an eager task may be
                self._reading[task] = due
                task.add_done_callback(self._never_read)
            if not self.state.wanted:
                break

    def _work_later(self) -> None:
        """Lets `work` look again when the first pause after a failure is over."""
        when = self.state.next_read_at()
        if when is None or self.closed or (self._retry is not None and self._retry_at <= when):
            return
        if self._retry is not None:
            self._retry.cancel()
        self._retry_at = when
        self._retry = self.loop.call_later(max(0.0, when - time.monotonic()), self._work_again)

    def close(self) -> None:
        """Ends every reader; on the loop. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self.admission.hub_closed()  # its streams may wait for clients that take nothing
        for reader in self.shared_readers.readers():
            reader.close()
        for member in self.admission.state.source_members():
            assert isinstance(member, LoopSourceMember)
            member.close()
        for handle in (self._timer, self._retry):
            if handle is not None:
                handle.cancel()
        for task in list(self._reading):
            task.cancel()
        upstream, self._upstream = self._upstream, None
        self.admission.unlink(upstream)

    # the Sink

    def confirmed(self, channel: str) -> None:
        if channel == CONTROL:
            self.admission.state.confirmed()
            self.admission.work()
        else:
            self.state.confirmed(channel)

    def lost(self, channels: Sequence[str] | None, why: str, error: SSEBridgeError | None = None) -> None:
        if channels is None or CONTROL in channels:
            self.admission.state.lost(time.monotonic())
        if self.state.lost(channels, error):
            logger.warning("the broker link is lost (%s); readers stay and will be resynchronised", why)

    def flush(self) -> None:
        woken = self.state.changed()
        if woken:
            _wake(woken)
        if self.state.wanted:  # mostly it is empty, and `work` would cost three calls more for each event
            self.work()

    # inside

    def _subscribe(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(TICK_SECONDS, self._tick)
        if self._upstream is None:  # first: if that fails, the next reader subscribes the channels
            self._upstream = self._backend.aupstream(self)
        self.admission.link(self._upstream)
        if self.state.to_subscribe:
            self._upstream.subscribe(list(self.state.to_subscribe))
            self.state.to_subscribe.clear()

    def _work_again(self) -> None:
        self._retry = None
        self.work()
        self._work_later()

    def _never_read(self, task: asyncio.Task[None]) -> None:
        """Notes failed reads of a task that was cancelled before its first step, which runs none of its lines."""
        due = self._reading.pop(task, None)
        if due is not None:
            self.state.failed([feed for feed, _ in due], time.monotonic())
            self._work_later()

    async def _read(self, due: list[Read]) -> None:
        outcomes: Sequence[Page | SSEBridgeError]
        try:
            outcomes = await self._backend.aread([request for _, request in due])
        except SSEBridgeError as error:
            outcomes = [error] * len(due)
        except BaseException as error:
            self.state.failed([feed for feed, _ in due], time.monotonic(), error)
            self._work_later()
            raise
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._reading.pop(task, None)
        trouble = self.state.settle(due, outcomes, time.monotonic())
        if trouble is not None:
            logger.warning("%s", trouble)
        self.flush()
        if self.state.paused:
            self._work_later()

    def _tick(self) -> None:
        self._timer = None
        try:
            goes_on = self._do_what_is_due(time.monotonic())  # threads cannot read the loop's own clock
        except Exception:
            logger.exception("the tick of a hub met an unexpected error and goes on")
            goes_on = not self.closed
        if goes_on and self._timer is None:  # a reader that entered during the tick may have set one
            self._timer = self.loop.call_later(TICK_SECONDS, self._tick)

    def _do_what_is_due(self, now: float) -> bool:
        """Does the work of a tick; False: no feed and no lease is left, so that the timer may end."""
        _wake(self.alarms.take_due(now))
        self.admission.tick(now)
        gone = self.state.unsubscribes(now)
        if gone and self._upstream is not None:
            self._upstream.unsubscribe(gone)
        if not self.state.feeds and not self.admission.state.busy:
            upstream, self._upstream = self._upstream, None
            self.admission.unlink(upstream)
            return False
        self.state.check_some(now)
        self.work()
        return True


def _wake(readers: Iterable[Reader]) -> None:
    for reader in readers:
        try:
            reader.wake()
        except Exception:
            logger.exception("waking a reader failed; the others go on")
