"""The frames and the end of a source's stream, decided without I/O; pumps and bodies only wait between calls."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from typing_extensions import override

from ...admission.admissions import Refused
from ...admission.grants import Grant
from ...errors import SSEBridgeError
from ...filters import Filter
from ...wire import Format
from ..lifecycle.bridge_protocol import BridgeProtocol
from ..lifecycle.ending import Reason, Script, answer, last_frame, retry_ms
from .items import END_ID, OPEN_ID, item_frame
from .iterables import drop

logger = logging.getLogger("sse_bridge.streams")


class SourceScript(Script):
    """See the module; for one stream, which has no lifetime: an early end would lose the rest.

    `frame`, `completed` and `failed` are for the pump, the rest for the body.
    """

    __slots__ = ("_filter", "_restarted", "_separator", "_told", "max_write_bytes", "outcome")

    def __init__(
        self, bridge: BridgeProtocol, format: Format, filter: Filter, grant: Grant | None, *, restarted: bool
    ) -> None:
        super().__init__(bridge, format, grant)
        self.outcome = ""  # the reason of the end: ``completed``, ``error``, or that of an early end; empty before
        self.max_write_bytes = bridge.settings.max_write_bytes
        self._filter = filter
        self._restarted = restarted
        self._separator = b""
        # NDJSON and JSON arrays hold the source's items only; text and bytes render control events as nothing
        self._told = not getattr(format, "bare_items", False)

    def open(self, now: float) -> bytes:
        """The bytes that leave before the source begins; may be empty."""
        self.deadlines.open(now, expires_at=self._expires_at)
        data = {"restarted": True} if self._restarted else {}
        frame = b""
        if self._told:
            frame = self.wire.control("stream.open", data, id=OPEN_ID, retry_ms=retry_ms(self._settings))
        return self.wire.prefix + frame

    @override
    def refusal(self, reason: Refused) -> SSEBridgeError | None:
        return answer(reason, self._settings, has_last_frame=bool(last_frame(self.wire, reason, self._settings)))

    @override
    def goodbye(self, reason: Reason, replaced_id: bytes | None = None) -> bytes:
        self.outcome = reason
        frame = super().goodbye(reason, END_ID if self._told else None)
        if not frame:
            self.incomplete = reason
        return frame

    def frame(self, item: Any) -> bytes:
        """An item's frame, separator included; empty if the filter hides it; raises `InvalidInput`."""
        return self._separated(item_frame(item, self.wire, self._filter))

    def completed(self) -> tuple[bytes, ...]:
        """The last frames of a source that ended."""
        self.outcome = "completed"
        return (self._end("completed"),)

    def failed(self, error: BaseException) -> tuple[bytes, ...] | None:
        """The last frames after a failure; None: the format has no frame for errors."""
        self.outcome = "error"
        if isinstance(error, asyncio.CancelledError):
            logger.warning("a source was cancelled, and its stream ends")
        else:
            logger.error("a source failed, and its stream ends", exc_info=error)
        message, detail = "the source of this stream failed", None
        if self._settings.debug:
            message = f"{type(error).__name__}: {_text(error)}"
            trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            detail = {"type": type(error).__name__, "traceback": trace}
        frame = self._separated(self.wire.error(message, detail))
        return (frame, self._end("error")) if frame else None

    def pull(self, pump: Pump, now: float) -> tuple[bytes, bool]:
        """The bytes to write now (empty: none, wait until `deadlines.next`), and whether the stream is over then."""
        due = self.deadlines.due(now)
        if due is not None and due != "heartbeat":
            pump.stop()  # its frames so far are still written
        if due == "revoked":  # except to a user who may not see them
            return self.goodbye(due), True
        data = pump.take()
        if data:
            self.deadlines.wrote_at = now
        if pump.empty and pump.finished and not pump.cut:
            return data, True
        if data:
            return data, False
        if pump.finished:
            self.incomplete = "the source failed"
            return b"", True
        if due is not None and due != "heartbeat":
            return self.goodbye(due), True
        if due == "heartbeat":
            self.deadlines.wrote_at = now
            return self.wire.heartbeat(), False
        return b"", False

    def _end(self, reason: str) -> bytes:
        frame = b""
        if self._told:
            frame = self.wire.control("stream.end", {"channel": None, "reason": reason}, id=END_ID)
        return frame + self.wire.suffix

    def _separated(self, frame: bytes) -> bytes:
        if not frame:
            return b""
        separator, self._separator = self._separator, self.wire.separator
        return separator + frame


class Pump:
    """The frames of one source that wait for the body; not safe for threads by itself."""

    wake: Callable[[], None]  # makes the body call `take`

    def __init__(self, script: SourceScript, source: Any) -> None:
        self.finished = False  # no further frame follows
        self.cut = False  # the source failed, and the format cannot say so
        self.stopped = False  # the body needs no more frames
        self.other_colour: Any = None  # a source that a callable made, and that a pump of its colour must run
        self._script = script
        self._source = source
        self._limit = script.max_write_bytes
        self._frames: deque[bytes] = deque()
        self._size = 0

    @property
    def empty(self) -> bool:
        return not self._frames

    @property
    def full(self) -> bool:
        """Whether as much is waiting as one write takes."""
        return self._size >= self._limit

    def take(self) -> bytes:
        """Whole frames, as many as one write may hold; empty: none is waiting."""
        frames = self._frames
        if not frames:
            return b""
        data = frames.popleft()
        if frames and self._script.wire.joins:
            taken, size = [data], len(data)
            while frames and size + len(frames[0]) <= self._limit:
                size += len(frames[0])
                taken.append(frames.popleft())
            data = b"".join(taken)
        self._size -= len(data)
        return data

    def put(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._size += len(frame)

    def stop(self) -> None:
        """Has the source closed as soon as possible. Idempotent."""
        self.stopped = True

    def finish(self, last: tuple[bytes, ...] | None) -> None:
        """Puts the last frames, which may be empty; None: the connection must be cut."""
        for frame in last or ():
            if frame:
                self.put(frame)
        self.cut = last is None
        self.finished = True

    def failed(self, error: BaseException) -> None:
        if self.stopped:
            logger.warning("a source failed while it was stopped", exc_info=error)
        else:
            self.finish(self._script.failed(error))

    def over(self, task: asyncio.Future[None]) -> None:
        """Done callback of the source's task: a task cancelled before its first step runs not even its ``finally``."""
        if task.cancelled() and not (self.finished or self.stopped):
            self.failed(asyncio.CancelledError())
            drop(self._source)
            self.wake()


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an application's exception may fail in __str__, too
        return "<it cannot be printed>"
