"""What a hub's ward needs done: its requests carried out, and streams told to end. One guard per colour.

No thread, task or timer per reader: a stream that opens asks in its own time; everything else is the keeper's work on
threads, and one short task on asyncio.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Literal

from ..backends.admission import CONTROL
from ..config import Settings
from ..errors import BackendError, BridgeClosed, ConfigurationError, SSEBridgeError
from .ward import Ends, Ward

if TYPE_CHECKING:
    from ..backends.base import Upstream
    from .guests import LoopGuest, ThreadGuest
    from .loop import LoopHub, LoopReader
    from .thread_reader import ThreadReader
    from .threads import ThreadHub

Refused = Literal["limit", "revoked", "unavailable"]

logger = logging.getLogger("sse_bridge.hub")


def _new_ward(backend: Any, settings: Settings) -> Ward:
    limit, replace = settings.max_streams_per_user, settings.over_limit == "replace_oldest"
    return Ward(getattr(backend, "can_control", False), limit, replace, settings.max_stream_seconds + 60)


def _heard(message: bytes, ends: Ends | None) -> None:
    """What the ward said to this message; under no lock, for a handler of logging may do anything."""
    if ends is None:
        logger.warning("a control message that is not ours: %r", message[:120])
    else:
        _end(ends)


def _end(ends: Ends) -> None:
    now = time.monotonic()
    for reference, why in ends:
        stream = reference()
        if stream is None:
            continue
        try:
            stream.end_by(now, why)
        except Exception as error:  # noqa: BLE001  # its loop was closed just now; the others must hear of it
            logger.warning("a stream could not be told that it is over (%s): %r", why, error)


class _Guard:
    """What both colours share: the ward, and whether its link was asked for."""

    def __init__(self, backend: Any, settings: Settings) -> None:
        self.ward = _new_ward(backend, settings)
        self._backend = backend
        self._subscribed = False

    def link(self, upstream: Upstream) -> None:
        """Listens to the control channel from the first stream on; iterators of server code are nobody's to revoke."""
        if self.ward.supported and self.ward.members and not self._subscribed:
            self._subscribed = True
            upstream.subscribe((CONTROL,))

    def unlink(self, upstream: Upstream | None) -> None:
        """Closes a link that the hub has forgotten already: if that fails, the next reader gets another all the same."""
        if upstream is None:
            return
        try:
            upstream.close()
        except Exception:
            logger.exception("the live link failed to close; the next reader gets another")
        self._subscribed = False
        self.ward.unlinked()  # when nothing can be told by it any more


class ThreadGuard(_Guard):
    """For threads and greenlets; the ward under the hub's lock."""

    def __init__(self, hub: ThreadHub, backend: Any, settings: Settings) -> None:
        super().__init__(backend, settings)
        self._hub = hub

    def admit(self, reader: ThreadReader | ThreadGuest) -> Refused | None:
        """Whether a stream that is about to open may; waits for the broker if it needs a lease.

        Raises:
            ConfigurationError: the broker cannot keep leases.
        """
        with self._hub.lock:
            if self.ward.refuses(reader, time.monotonic()):
                return "revoked"
            request = self.ward.lease_request(reader)
        if request is None:
            return None
        try:
            admitted = self._backend.control(request)
        except BackendError as error:
            logger.warning("a stream cannot open, for its user's streams cannot be counted: %s", error)
            return "unavailable"
        with self._hub.lock:
            self.ward.took(reader, admitted)
        return None if admitted else "limit"

    def told(self, message: bytes) -> None:
        with self._hub.lock:
            ends = self.ward.told(message, time.monotonic())
        _heard(message, ends)

    def tick(self, now: float) -> None:
        with self._hub.lock:
            ends = self.ward.tick(now)
        _end(ends)

    def work(self) -> None:
        """Carries out what is due; in the keeper."""
        while True:
            with self._hub.lock:
                request = self.ward.due(time.monotonic())
            if request is None:
                return
            ends: Ends = []
            try:
                reply = self._backend.control(request)
            except BridgeClosed:
                return
            except SSEBridgeError as error:
                logger.warning("the broker could not be asked who may stay: %s", error)
                with self._hub.lock:
                    self.ward.failed(request, time.monotonic(), for_good=isinstance(error, ConfigurationError))
            else:
                with self._hub.lock:
                    ends = self.ward.done(request, reply, time.monotonic())
            with self._hub.lock:
                woken = self.ward.woken()
            _end(ends)
            _wake(woken)


class LoopGuard(_Guard):
    """For asyncio; on the hub's loop."""

    def __init__(self, hub: LoopHub, backend: Any, settings: Settings) -> None:
        super().__init__(backend, settings)
        self._hub = hub
        self._task: asyncio.Task[None] | None = None

    async def admit(self, reader: LoopReader | LoopGuest) -> Refused | None:
        """The twin of `ThreadGuard.admit`; whoever is cancelled gives back what he may have got."""
        if self.ward.refuses(reader, time.monotonic()):
            return "revoked"
        request = self.ward.lease_request(reader)
        if request is None:
            return None
        try:
            admitted = await self._backend.acontrol(request)
        except BackendError as error:
            logger.warning("a stream cannot open, for its user's streams cannot be counted: %s", error)
            return "unavailable"
        self.ward.took(reader, admitted)
        return None if admitted else "limit"

    def told(self, message: bytes) -> None:
        _heard(message, self.ward.told(message, time.monotonic()))

    def tick(self, now: float) -> None:
        _end(self.ward.tick(now))
        self.work()

    def work(self) -> None:
        """Lets a task carry out what is due."""
        if self._task is None and self.ward.due_soon(time.monotonic()) and not self._hub.loop.is_closed():
            self._task = self._hub.loop.create_task(self._carry_out())
            self._task.add_done_callback(self._over)

    async def flush(self) -> None:
        """Gives back what readers held, when the hub is closed."""
        if self._task is not None:
            await asyncio.wait({self._task})
        await self._carry_out()

    async def _carry_out(self) -> None:
        while (request := self.ward.due(time.monotonic())) is not None:
            ends: Ends = []
            try:
                reply = await self._backend.acontrol(request)
            except SSEBridgeError as error:
                logger.warning("the broker could not be asked who may stay: %s", error)
                self.ward.failed(request, time.monotonic(), for_good=isinstance(error, ConfigurationError))
            except BaseException:
                self.ward.failed(request, time.monotonic(), for_good=False)
                raise
            else:
                ends = self.ward.done(request, reply, time.monotonic())
            _end(ends)
            _wake(self.ward.woken())

    def _over(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            logger.error("asking the broker who may stay failed", exc_info=task.exception())


def _wake(readers: list[Hashable]) -> None:
    for reader in readers:
        reader.wake()  # type: ignore[attr-defined]  # a reader or a guest of the hub
