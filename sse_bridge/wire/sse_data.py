"""Server-sent events for clients that read ``data:`` alone: OpenAI's and Vercel's protocols, pages with ``onmessage``.

Such a client takes each frame for a message of its protocol. So there is no ``event:`` line and no ``stream.*`` frame;
heartbeats and gaps are comment lines directly before the next frame, without a blank line of their own, of which some
of these decoders make an empty message. The first piece is such a line, so that the response's head leaves at once.

The format cannot say that an end is too early: the connection is cut, and a client that waits for the protocol's own
last message notices. A gap is a comment only; an application that must know of gaps takes ``sse``.
"""

from __future__ import annotations

import json
from typing import ClassVar

from typing_extensions import override

from ..events import END_TYPE, Entry, check_type
from .base import ControlEvent, encode_json, line_value
from .envelope import json_value
from .sse import SSE, data_lines


class SSEData(SSE):
    """Server-sent events without types and control events; ids stay, so a client with the header resumes."""

    name: ClassVar[str] = "sse-data"
    media_types: ClassVar[tuple[str, ...]] = ()  # by name only: Accept cannot tell it from ``sse``
    tells: ClassVar[bool] = False
    cuts: ClassVar[bool] = True

    @override
    def body(self, channel: str, entry: Entry) -> bytes:
        if entry.type == END_TYPE:
            return b""
        return data_lines(self._shown(entry.type, entry.data, entry.kind))

    @override
    def with_id(self, body: bytes, id: bytes) -> bytes:
        return super().with_id(body, id) if body else b""

    @override
    def render(self, event_type: str | None, data: bytes, kind: str, id: str | None = None) -> bytes:
        id_line = b"" if id is None else b"id: " + line_value("an id", id) + b"\n"
        if event_type is not None:
            data = self._shown(check_type(event_type), data, kind)
        return id_line + data_lines(data)

    @override
    def control_frame(self, event: ControlEvent) -> bytes:
        if event.type == "stream.open":
            return self.heartbeat()
        if event.type == "stream.gap":  # a comment, for people who look at the bytes
            return b": stream.gap " + line_value("the data of a gap", encode_json(event.data).decode()) + b"\n"
        return b""

    def _shown(self, event_type: str, data: bytes, kind: str) -> bytes:
        """The data for the client, with the type in a subclass."""
        return data


class TypedSSEData(SSEData):
    """The same with the type inside of the data, for pages that read ``JSON.parse(event.data).type``.

    An object gets the member ``type`` in front, unless it has one; any other value becomes ``{"type": …, "data": …}``. A
    source's plain items, which have no type, stay as they are.
    """

    name: ClassVar[str] = "sse-data-typed"

    @override
    def _shown(self, event_type: str, data: bytes, kind: str) -> bytes:
        value = json_value(data, kind).strip(b" \t")
        member = b'{"type":' + encode_json(event_type)
        if kind == "T" or not value.startswith(b"{"):
            return member + b',"data":' + value + b"}"
        if b'"type"' in value and _has_type(value):
            return value
        rest = value[1:].lstrip(b" \t")
        return member + (rest if rest.startswith(b"}") else b"," + rest)


def _has_type(value: bytes) -> bool:
    try:
        return "type" in json.loads(value)
    except ValueError:  # `Json` is not checked, and a reader must not fail over it
        return True


SSE_DATA_FORMAT = SSEData()
TYPED_SSE_DATA_FORMAT = TypedSSEData()
