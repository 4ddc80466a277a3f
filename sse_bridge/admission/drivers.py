"""Drivers carry out the requests of a hub's admissions, judge streams that open, and end others; one per colour.

No thread, task or timer per reader: a stream that opens waits for its own lease; all other requests are the
housekeeping thread's work on threads, and one short task on asyncio.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..config import Settings
from ..errors import (
    BackendError,
    BackendUnavailable,
    BridgeClosed,
    ConfigurationError,
    PublishUncertain,
    SSEBridgeError,
)
from .admissions import APART_SECONDS, Admissions, Ends, Refused
from .contract import CONTROL, ControlRequest, TakeLease

logger = logging.getLogger("sse_bridge.hub")


class Link(Protocol):
    """The part of the hub's live link (`backends.base.Upstream`) that drivers use."""

    def subscribe(self, channels: Sequence[str]) -> None: ...

    def close(self) -> None: ...


def _tell(ends: Ends, woken: Iterable[Hashable] = ()) -> None:
    """Ends streams and wakes members, under no lock, since a logging handler, or a stream's end, may run any code."""
    now = time.monotonic()
    for reference, why in ends:
        stream = reference()
        if stream is None:
            continue
        try:
            stream.end_by(now, why)
        except Exception as error:  # noqa: BLE001  # a loop may just have closed; the others must be told
            logger.warning("a stream could not be told that it is over (%s): %r", why, error)
    for member in woken:
        member.wake()  # type: ignore[attr-defined]  # a reader or a source member of the hub


class _AdmissionDriver:
    """The base of both colours: hands messages, replies and errors to the admissions, and its decisions to streams.

    Args:
        lock: the hub's, which guards the admissions.
    """

    def __init__(self, lock: AbstractContextManager[Any], backend: Any, settings: Settings) -> None:
        limit, replace = settings.max_streams_per_user, settings.over_limit == "replace_oldest"
        self.state = Admissions(
            getattr(backend, "can_control", False), limit, replace, settings.max_stream_seconds + 60
        )
        self._lock = lock
        self._backend = backend
        self._subscribed = False

    def ask(self, request: TakeLease) -> Any:
        """Asks the broker whether one more stream of this user may begin; waits, or is awaited."""
        raise NotImplementedError

    def admitting(
        self, member: Hashable
    ) -> Generator[tuple[Callable[[TakeLease], Any], TakeLease], bool, Refused | None]:
        """Judges a member that is `Admissions.ready`, and takes a lease where its user's streams are counted.

        A caller that is ended early drops the generator and lets the member leave, which gives back a lease it may have.
        The clock is read here, since an answer may take seconds.

        Yields:
            At most once, `ask` and the request, under no lock. Send its reply; a `BackendError` is thrown in, any other
            error goes past.

        Returns:
            The reason why the stream may not open; None: it may.
        """
        with self._lock:
            if self.state.refuses(member, time.monotonic()):
                return "revoked"
            request = self.state.lease_request(member)
        if request is None:
            return None
        try:
            admitted = yield self.ask, request
        except BackendError as error:
            logger.warning("a stream cannot open, for its user's streams cannot be counted: %s", error)
            return "unavailable"
        with self._lock:
            self.state.took(member, admitted)
        return None if admitted else "limit"

    def link(self, upstream: Link) -> None:
        """Listens to the control channel from the first stream on; iterators of server code cannot be revoked."""
        if self.unheard:
            upstream.subscribe((CONTROL,))
            self._subscribed = True  # last: if this call is interrupted, the next one subscribes

    @property
    def unheard(self) -> bool:
        """Whether there are streams, but no subscription to the control channel."""
        return self.state.supported and bool(self.state.members) and not self._subscribed

    def unlink(self, upstream: Link | None) -> None:
        """Closes a link that the hub has forgotten already, so that the next reader gets another even if this fails."""
        if upstream is None:
            return
        try:
            upstream.close()
        except Exception:
            logger.exception("the live link failed to close; the next reader gets another")
        self._subscribed = False
        self.state.unlinked()  # last: the closed link calls the sink no more

    def control_message(self, message: bytes) -> None:
        """Handles a message on the control channel."""
        with self._lock:
            ends = self.state.control_message(message, time.monotonic())
        if ends is None:
            logger.warning("a control message that is not ours: %r", message[:120])
        else:
            _tell(ends)

    def tick(self, now: float) -> None:
        """Ends the streams that are due; called once a second."""
        with self._lock:
            ends = self.state.tick(now)
        _tell(ends)

    def _done(self, request: ControlRequest, reply: Any) -> None:
        with self._lock:
            ends = self.state.done(request, reply, time.monotonic())
            woken = self.state.woken()
        _tell(ends, woken)

    def _failed(self, request: ControlRequest, error: BaseException) -> None:
        """Notes a request that failed; a foreign error, such as a cancel, leaves the request due."""
        ours = isinstance(error, SSEBridgeError)
        if ours:
            logger.warning(
                "lease or revocation request to the broker failed: %s; users' streams end once its link is lost for %d s",
                error,
                APART_SECONDS,
            )
        with self._lock:
            self.state.failed(
                request,
                time.monotonic(),
                for_good=isinstance(error, ConfigurationError),
                refused=ours and not isinstance(error, (BackendUnavailable, PublishUncertain)),
            )
            woken = self.state.woken()
        _tell([], woken)


class ThreadAdmissionDriver(_AdmissionDriver):
    """For threads and greenlets."""

    def ask(self, request: TakeLease) -> Any:
        return self._backend.control(request)

    def work(self) -> None:
        """Carries out the requests that are due; in the housekeeping thread."""
        while True:
            with self._lock:
                request = self.state.next_request(time.monotonic())
            if request is None:
                return
            try:
                reply = self._backend.control(request)
            except BridgeClosed:
                return
            except SSEBridgeError as error:
                self._failed(request, error)
            else:
                self._done(request, reply)


class LoopAdmissionDriver(_AdmissionDriver):
    """For asyncio.

    Attributes:
        loop: the hub's, where everything here runs.
    """

    def __init__(self, lock: AbstractContextManager[Any], backend: Any, settings: Settings) -> None:
        super().__init__(lock, backend, settings)
        self.loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def ask(self, request: TakeLease) -> Any:
        return self._backend.acontrol(request)

    def tick(self, now: float) -> None:
        super().tick(now)
        self.work()

    def work(self) -> None:
        """Lets a task carry out the requests that are due."""
        idle = self._task is None or self._task.done()
        if idle and self.state.request_due(time.monotonic()) and not self.loop.is_closed():
            self._task = self.loop.create_task(self._work())

    def hub_closed(self) -> None:
        """Tells all streams that they are over."""
        _tell([(member.stream, "unavailable") for member in self.state.members.values()])

    async def flush(self) -> None:
        """Gives back the readers' leases, when the hub is closed."""
        if self._task is not None:
            await asyncio.wait({self._task})
        await self._carry_out()

    async def _work(self) -> None:
        try:
            await self._carry_out()
        except Exception:
            logger.exception("lease and revocation task failed; the next request starts another")

    async def _carry_out(self) -> None:
        while (request := self.state.next_request(time.monotonic())) is not None:
            try:
                reply = await self._backend.acontrol(request)
            except BaseException as error:
                self._failed(request, error)
                if not isinstance(error, SSEBridgeError):
                    raise
            else:
                self._done(request, reply)
