"""The frames and the end of a stream of channels, decided without I/O; bodies and drivers only wait between calls."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from ...admission.admissions import Refused
from ...errors import SlowReader
from ...follow.follower import Follower
from ...follow.subscribe_request import SubscribeRequest
from ...wire import Format
from ..http.request import REPLACED_MARK
from ..lifecycle.bridge_protocol import BridgeProtocol
from ..lifecycle.ending import Due, Script, retry_ms
from .rendering import payload, renderer

if TYPE_CHECKING:
    from ...hub.loop import LoopReader
    from ...hub.thread_reader import ThreadReader

_REPLACED: Final = REPLACED_MARK.encode()

logger = logging.getLogger("sse_bridge.streams")


class ChannelScript(Script):
    """See the module; for one stream.

    Attributes:
        away: the broker has just not answered for this stream, so the body must not wait for it again.
        rendering: of the format, for groups of shared readers.
    """

    __slots__ = ("away", "rendering", "subscribe_request")

    def __init__(
        self,
        bridge: BridgeProtocol,
        subscribe_request: SubscribeRequest,
        format: Format,
        expires_at: float | None,
        user: str | None = None,
    ) -> None:
        super().__init__(bridge, format, expires_at, user)
        self.subscribe_request = subscribe_request
        self.rendering = renderer(format)
        self.away = False

    def stays(self, now: float) -> bool:
        """Whether the stream, which is not open yet, is to end by nothing known within a second from `now`."""
        ends_at = self.deadlines.ends_at if self._expires_at is None else min(self.deadlines.ends_at, self._expires_at)
        return ends_at > now + 1 and not self.bridge.streams.draining

    def open(self, id: bytes, now: float) -> bytes:
        """The first frame.

        Args:
            id: the client's position, never behind a gap that the client was not told; empty: the client has none yet.
        """
        self.deadlines.open(now, self._settings.max_stream_seconds, self._expires_at)
        return self.wire.control("stream.open", {}, id=id or None, retry_ms=retry_ms(self._settings))

    @override
    def refuse(self, reason: Refused) -> bytes:
        frame = self.goodbye(reason)
        return frame if self.incomplete is None else self.wire.heartbeat()  # a piece with which the head leaves

    def pull(self, reader: LoopReader | ThreadReader, now: float) -> tuple[bytes, bool]:
        """The bytes to write now (empty: none, wait until `deadlines.next`), and whether the stream is over then."""
        follower = reader.follower
        due = self.deadlines.due(now)
        if due is not None and due != "heartbeat":
            return self.goodbye(due, follower.id() + _REPLACED if due == "replaced" else None), True
        try:
            data = b""
            while not data and (batch := reader.pull(self._settings.max_write_bytes)) is not None:
                data = payload(self.wire, batch)  # empty for deliveries that the format cannot express
        except SlowReader as error:
            logger.warning("ending the stream of a slow reader of %s: %s", self.subscribe_request.channels, error)
            return self.goodbye("slow"), True
        if not data and due == "heartbeat" and (note := follower.tell_position()) is not None:
            data = payload(self.wire, note)
        if data:
            self.deadlines.wrote_at = now
            return data, False
        if follower.finished:
            return b"", True
        if due == "heartbeat":
            self.deadlines.wrote_at = now
            return self.wire.heartbeat(), False
        return b"", False

    def due(self, now: float, wrote_at: float) -> tuple[Due | None, bytes]:
        """The deadline due for a reader to which the hub last wrote at `wrote_at`, and the bytes of a due heartbeat."""
        due = self.deadlines.due(now, wrote_at)
        if due != "heartbeat":
            return due, b""
        self.deadlines.wrote_at = now
        return due, self.wire.heartbeat()

    def position(self, follower: Follower) -> bytes:
        """A frame with the reader's position, or a heartbeat in a format without one."""
        return self.wire.position(follower.id()) or self.wire.heartbeat()
