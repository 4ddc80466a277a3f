"""Only the data, as text: for terminals, and for tokens that are concatenated into an answer.

`Text` and JSON strings go out unquoted with nothing added, so that tokens join to an answer; any other JSON value goes
out as one line. The format has no control events, so no gaps and no errors: a client that must know of them takes
another format, and a source that fails should cut the connection. ``bytes`` is the same under another content type.
"""

from __future__ import annotations

import json
from typing import ClassVar

from typing_extensions import override

from ..events import END_TYPE, Entry, check_type
from .base import Format, line_value


class TextFormat(Format):
    """Data as plain text."""

    name: ClassVar[str] = "text"
    content_type: ClassVar[str] = "text/plain; charset=utf-8"
    media_types: ClassVar[tuple[str, ...]] = ("text/plain",)
    tells: ClassVar[bool] = False
    raw: ClassVar[bool] = True

    @override
    def body(self, channel: str, entry: Entry) -> bytes:
        if entry.type == END_TYPE:
            return b""
        return _as_text(entry.data, entry.kind)

    @override
    def with_id(self, body: bytes, id: bytes) -> bytes:
        return body

    @override
    def render(self, event_type: str | None, data: bytes, kind: str, id: str | None = None) -> bytes:
        if event_type is not None:  # the same rules for every format, though `text` shows neither
            check_type(event_type)
        if id is not None:
            line_value("an id", id)
        return _as_text(data, kind)

    @override
    def heartbeat(self) -> bytes:
        return b""


class BytesFormat(TextFormat):
    """The same bytes under the content type of binary data."""

    name: ClassVar[str] = "bytes"
    content_type: ClassVar[str] = "application/octet-stream"
    media_types: ClassVar[tuple[str, ...]] = ("application/octet-stream",)


def _as_text(data: bytes, kind: str) -> bytes:
    if kind == "T":
        return data
    if data.lstrip(b" \t\r\n").startswith(b'"'):
        try:
            text: str = json.loads(data)
        except ValueError:  # `Json` is not checked, and a reader must not fail over it
            return data + b"\n"
        return text.encode("utf-8", "replace")  # JSON can escape a lone surrogate, which UTF-8 cannot carry
    return data + b"\n"


TEXT_FORMAT = TextFormat()
BYTES_FORMAT = BytesFormat()
