"""What a stream of a source says, decided without I/O: the pumps and both bodies ask it and only wait in between."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import traceback
from typing import TYPE_CHECKING, Any

from ..errors import BackendUnavailable, NotAuthorized, SSEBridgeError
from ..filters import Filter
from ..wire import Format
from .host import Host
from .items import END_ID, OPEN_ID, item_frame
from .pacing import Due, Pacing, Why, retry_ms
from .refusals import REVOKED, too_many_streams

if TYPE_CHECKING:
    from ..hub.guards import Refused
    from .pumps import Pump

logger = logging.getLogger("sse_bridge.streams")


class SourceScript:
    """See the module; for one stream.

    `frame`, `completed` and `failed` belong to whoever draws the items, the rest to the body.

    Attributes:
        joins: frames may be concatenated.
        max_write_bytes: as the setting.
        user: whose stream it is; None: nobody's, so that nothing can be asked or revoked.
    """

    def __init__(
        self,
        bridge: Host,
        format: Format,
        filter: Filter,
        *,
        restarted: bool,
        expires_at: float | None,
        user: str | None = None,
    ) -> None:
        self.bridge = bridge
        self.user = user
        self.joins = format.joins
        self.max_write_bytes = bridge.settings.max_write_bytes
        self._settings = bridge.settings.model_copy(update={"max_stream_seconds": math.inf})
        self._format = format
        self._filter = filter
        self._restarted = restarted
        self._expires_at = expires_at
        self._pacing = Pacing(self._settings, 0.0)
        self._ends: list[tuple[float, Why]] = []
        self._separator = b""
        # NDJSON and JSON arrays hold the client's data only; what text and bytes cannot carry comes out empty
        self._told = not getattr(format, "bare_items", False)

    def open(self, now: float) -> bytes:
        """What leaves before the source is looked at; may be empty."""
        self._pacing = Pacing(self._settings, now, self._expires_at)
        for when, why in self._ends:  # told before it was open
            self._pacing.end_at(when, why)
        data = {"restarted": True} if self._restarted else {}
        frame = b""
        if self._told:
            frame = self._format.control("stream.open", data, id=OPEN_ID, retry_ms=retry_ms(self._settings))
        return self._format.prefix + frame

    def refusal(self, reason: Refused) -> SSEBridgeError | None:
        """What a stream that may not open is answered where the status can still be said; None: 200 and `refuse`."""
        if reason == "revoked":
            return NotAuthorized(REVOKED)
        told = bool(self._format.retry(retry_ms(self._settings), reason))
        if reason == "limit":
            return None if told and self._settings.over_limit != "reject" else too_many_streams()
        return None if told else BackendUnavailable("whether this stream may open cannot be known now")

    def refuse(self, reason: Refused) -> bytes:
        """The only frame of such a stream, where its status has been said already.

        Raises:
            ConnectionResetError: as `pull`.
        """
        return self._last(reason)

    def frame(self, item: Any) -> bytes:
        """An item's frame, separator included; empty if the filter hides it; raises `InvalidInput`."""
        return self._separated(item_frame(item, self._format, self._filter))

    def completed(self) -> tuple[bytes, ...]:
        """The last frames of a source that ended."""
        return (self._end("completed"),)

    def failed(self, error: BaseException) -> tuple[bytes, ...] | None:
        """The last frames after a failure; None: the format cannot tell it."""
        if isinstance(error, asyncio.CancelledError):
            logger.warning("a source was cancelled, and its stream ends")
        else:
            logger.error("a source failed, and its stream ends", exc_info=error)
        message, detail = "the source of this stream failed", None
        if self._settings.debug:
            message = f"{type(error).__name__}: {error}"
            trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            detail = {"type": type(error).__name__, "traceback": trace}
        frame = self._separated(self._format.error(message, detail))
        return (frame, self._end("error")) if frame else None

    def pull(self, pump: Pump, now: float) -> tuple[bytes, bool]:
        """What to write now (empty: nothing yet, wait until `next_due`), and whether the stream is over then.

        Raises:
            ConnectionResetError: the connection must be cut. Servers take it for a client that left and log nothing.
        """
        due = self._pacing.due(now)
        if due is not None and due != "heartbeat":
            pump.stop()  # what it has made is not lost, and it makes no more
        if due == "revoked":  # but this user may not see it
            return self._last(due), True
        data = pump.take()
        if data:
            self._pacing.wrote(now)
        if pump.empty and pump.finished and not pump.cut:
            return data, True
        if data:
            return data, False
        if pump.finished:
            raise _cut("the source failed")
        if due is not None and due != "heartbeat":
            return self._last(due), True
        if due == "heartbeat":
            self._pacing.wrote(now)
            return self._format.heartbeat(), False
        return b"", False

    def next_due(self) -> float:
        return self._pacing.next()

    def given_up_at(self) -> float:
        """When a write that the client does not take is given up."""
        return self._pacing.given_up_at()

    def end_by(self, when: float, why: Why = "drain") -> None:
        self._ends.append((when, why))
        self._pacing.end_at(when, why)

    def _last(self, why: Due | Refused) -> bytes:
        """The frame that says why the rest is missing, or the cut."""
        wait = retry_ms(self._settings)
        last = self._format.retry(wait, why)
        if not last:
            raise _cut(why)
        if why == "replaced" and self._told:  # would it come back, it would throw out the one that took its place
            return self._format.control("stream.close", {"reason": why}, id=END_ID, retry_ms=wait)
        return last

    def _end(self, reason: str) -> bytes:
        frame = b""
        if self._told:
            frame = self._format.control("stream.end", {"channel": None, "reason": reason}, id=END_ID)
        return frame + self._format.suffix

    def _separated(self, frame: bytes) -> bytes:
        if not frame:
            return b""
        separator, self._separator = self._separator, self._format.separator
        return separator + frame


def _cut(why: str) -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, f"the stream is incomplete ({why}) and its format cannot say so")
