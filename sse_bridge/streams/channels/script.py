"""The frames and the end of a stream of channels, decided without I/O; bodies and drivers only wait between calls.

A batch is rendered once per format for all of its readers; an entry's body likewise.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from ...admission.admissions import Refused
from ...admission.grants import Grant
from ...errors import SlowReader
from ...events import Entry
from ...follow.batch import END, GAP, Batch, Delivery
from ...follow.follower import Follower
from ...follow.subscribe_request import SubscribeRequest
from ...wire import Format
from ..http.request import REPLACED_MARK
from ..lifecycle.bridge_protocol import BridgeProtocol
from ..lifecycle.ending import Due, Script, retry_ms

if TYPE_CHECKING:
    from ...hub.loop import LoopReader
    from ...hub.thread_reader import ThreadReader

_REPLACED: Final = REPLACED_MARK.encode()

logger = logging.getLogger("sse_bridge.streams")


def payload(format: Format, batch: Batch) -> bytes:
    """All deliveries of a batch as one piece of bytes, shared by the batch's readers."""
    rendered = batch.payloads.get(format.name)
    if rendered is None:
        frames = [frame(delivery, format) for delivery in batch.deliveries]
        rendered = batch.payloads[format.name] = frames[0] if len(frames) == 1 else b"".join(frames)
    return rendered


def messages(batch: Batch, format: Format) -> list[bytes]:
    """One piece per delivery, for formats whose frames are separate messages."""
    return [frame(delivery, format) for delivery in batch.deliveries]


def frame(delivery: Delivery, format: Format) -> bytes:
    """The whole frame of one delivery."""
    if delivery.entry is not None:
        return entry_frame(format, delivery.channel, delivery.entry, delivery.id)
    if delivery.kind == GAP:
        gap = delivery.gap
        assert gap is not None
        return format.gap(delivery.channel, gap.reason, gap.missed, delivery.id)
    if delivery.kind == END:
        return format.end(delivery.channel, None, delivery.id)
    assert delivery.id is not None
    return format.position(delivery.id)


def entry_frame(format: Format, channel: str, entry: Entry, id: bytes | None) -> bytes:
    """The frame of an entry with the id of the position behind it; None: an ephemeral entry."""
    bodies = entry.bodies
    if bodies is None:
        bodies = entry.bodies = {}
    body = bodies.get(format.name)
    if body is None:
        body = bodies[format.name] = format.body(channel, entry)
    return format.without_id(body) if id is None else format.with_id(body, id)


class Renderer:
    """Makes a group of shared readers's bytes from a batch, or from one live entry.

    Attributes:
        name: the format's; readers of the same name get the same bytes.
    """

    __slots__ = ("_format", "entry", "name")

    def __init__(self, format: Format) -> None:
        self.name = format.name
        self.entry: Callable[[str, Entry, bytes | None], bytes] = functools.partial(entry_frame, format)
        self._format = format

    def batch(self, batch: Batch) -> bytes:
        return payload(self._format, batch)


@functools.lru_cache(maxsize=64)
def renderer(format: Format) -> Renderer:
    """The renderer of a format; cached, since formats are few."""
    return Renderer(format)


class ChannelScript(Script):
    """The script of one stream.

    Attributes:
        away: the broker has just not answered for this stream, so the body must not wait for it again.
        rendering: of the format, for groups of shared readers.
    """

    __slots__ = ("away", "rendering", "subscribe_request")

    def __init__(
        self, bridge: BridgeProtocol, subscribe_request: SubscribeRequest, format: Format, grant: Grant | None
    ) -> None:
        super().__init__(bridge, format, grant)
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
