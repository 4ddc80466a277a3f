"""Server-sent events: ``text/event-stream`` after clause 9.2 of the HTML standard.

Beyond the standard, for the decoders in use:

- LF only, and a blank line ends each frame: several clients split frames at ``\\n\\n`` and nothing else.
- Every frame has a ``data:`` line. Firefox drops an id without data; httpx-sse and the OpenAI decoder make an empty
  event of a frame that has only ``retry:``.
- A comment is one line without a blank line after it, of which the same decoders make an empty event too.
- The id line comes first, so that a body can be shared.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Final

from typing_extensions import override

from ..events import DEFAULT_TYPE, Entry, check_type
from .base import ControlEvent, Format, check_id, encode_json, line_value

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
    def control_frame(self, event: ControlEvent) -> bytes:
        retry_line = b"" if event.retry_ms is None else b"retry: %d\n" % event.retry_ms
        id_line = b"" if event.id is None else b"id: %b\n" % event.id
        return retry_line + id_line + _event_line(event.type) + data_lines(encode_json(event.data))

    @override
    def heartbeat(self) -> bytes:
        return b":\n"


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
