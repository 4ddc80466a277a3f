"""Server-sent events: ``text/event-stream`` after clause 9.2 of the HTML standard.

Beyond the standard, for the decoders in use:

- LF only, and a blank line ends each frame: several clients split frames at ``\\n\\n`` and nothing else.
- Every frame has a ``data:`` line. Firefox drops an id without data; httpx-sse and the OpenAI decoder make an empty
  event of a frame that has only ``retry:``.
- A comment is one line without a blank line after it, of which the same decoders make an empty event too.
- The id line comes first, so that a body can be shared.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import ClassVar, Final

from typing_extensions import override

from ..events import DEFAULT_TYPE, END_TYPE, Entry, check_type
from .base import Format, check_id, encode_json, line_value
from .envelope import json_value

_CR: Final = 0x0D  # an int, since a search for a one-byte string takes five times as long
_LF: Final = 0x0A


class SSE(Format):
    """Server-sent events."""

    name: ClassVar[str] = "sse"
    # No charset: the standard allows UTF-8 only, and some clients compare the whole value.
    content_type: ClassVar[str] = "text/event-stream"
    media_types: ClassVar[tuple[str, ...]] = ("text/event-stream",)

    @override
    def body(self, channel: str, entry: Entry) -> bytes:
        return _event_line(entry.type) + data_lines(entry.data)

    @override
    def with_id(self, body: bytes, id: bytes) -> bytes:
        return b"id: %b\n%b" % (check_id(id), body)  # half the time of three concatenations

    @override
    def render(self, event_type: str | None, data: bytes, kind: str, id: str | None = None) -> bytes:
        event_line = b"" if event_type is None else _event_line(check_type(event_type))
        id_line = b"" if id is None else b"id: " + line_value("an id", id) + b"\n"
        return id_line + event_line + data_lines(data)

    @override
    def control_frame(
        self, event_type: str, data: bytes, channel: str | None, id: bytes | None, retry_ms: int | None
    ) -> bytes:
        retry_line = b"" if retry_ms is None else b"retry: %d\n" % retry_ms
        id_line = b"" if id is None else b"id: %b\n" % id
        return b"%b%b%bdata: %b\n\n" % (retry_line, id_line, _event_line(event_type), data)

    @override
    def heartbeat(self) -> bytes:
        return b":\n"


class SSEData(SSE):
    """For clients that read ``data:`` alone: OpenAI's and Vercel's protocols, pages with ``onmessage``.

    Such a client takes each frame for a message of its protocol. So there is no ``event:`` line and no ``stream.*``
    frame; ids stay, so a client with the header resumes. Heartbeats and gaps are comment lines directly before the next
    frame, without a blank line of their own, of which some of these decoders make an empty message. The first piece is
    such a line, so that the response's head leaves at once.

    The format cannot say that an end is too early: the connection is cut, and a client that waits for the protocol's own
    last message notices. A gap is a comment only; an application that must know of gaps takes ``sse``.
    """

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
    def control_frame(
        self, event_type: str, data: bytes, channel: str | None, id: bytes | None, retry_ms: int | None
    ) -> bytes:
        if event_type == "stream.open":
            return self.heartbeat()
        if event_type == "stream.gap":  # a comment, for people who look at the bytes
            return b": stream.gap " + line_value("the data of a gap", data.decode()) + b"\n"
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


def data_lines(data: bytes) -> bytes:
    """The data lines and the blank line that ends the frame.

    A line ends at CR, LF or CRLF and nothing else, so never ``splitlines()``. The client joins the lines with LF. Empty
    data is one empty data line, without which the standard dispatches no event.
    """
    if _CR in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if _LF in data:
        data = data.replace(b"\n", b"\ndata: ")
    return b"data: %b\n\n" % data


@lru_cache(maxsize=4096)
def _event_line(event_type: str) -> bytes:
    if event_type == DEFAULT_TYPE:
        return b""
    return b"event: " + line_value("an event type", event_type) + b"\n"


SSE_FORMAT = SSE()
SSE_DATA_FORMAT = SSEData()
TYPED_SSE_DATA_FORMAT = TypedSSEData()
