"""The frames and the end of a source's stream, decided without I/O; pumps and bodies only wait between calls."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from ...admission.admissions import Refused
from ...filters import Filter
from ...wire import Format
from ..lifecycle.bridge_protocol import BridgeProtocol
from ..lifecycle.ending import Reason, Script, answer, last_frame, retry_ms
from .items import END_ID, OPEN_ID, item_frame

if TYPE_CHECKING:
    from ...errors import SSEBridgeError

logger = logging.getLogger("sse_bridge.streams")


class Frames(Protocol):
    """The frames that a pump has drawn from its source; see `Pump`."""

    finished: bool
    cut: bool

    @property
    def empty(self) -> bool: ...

    def take(self) -> bytes: ...

    def stop(self) -> None: ...


class SourceScript(Script):
    """See the module; for one stream, which has no lifetime: an early end would lose the rest.

    `frame`, `completed` and `failed` are for the pump, the rest for the body.
    """

    __slots__ = ("_filter", "_restarted", "_separator", "_told", "joins", "max_write_bytes", "outcome")

    def __init__(
        self,
        bridge: BridgeProtocol,
        format: Format,
        filter: Filter,
        *,
        restarted: bool,
        expires_at: float | None,
        user: str | None = None,
    ) -> None:
        super().__init__(bridge, format, expires_at, user)
        self.outcome = ""  # the reason of the end: ``completed``, ``error``, or that of an early end; empty before
        self.joins = format.joins
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

    def pull(self, pump: Frames, now: float) -> tuple[bytes, bool]:
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


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an application's exception may fail in __str__, too
        return "<it cannot be printed>"
