"""Only the data, as text: for terminals, and for tokens that are concatenated into an answer.

`Text` and JSON strings go out unquoted with nothing added, so that tokens join to what was said; any other JSON value
goes out as one line. Control events have no place in it: a gap or an error cannot be told here. Whoever must know of
them takes another format, and a source that fails should cut the connection. ``bytes`` is the same under another
content type, for what is not text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from typing_extensions import override

from ..events import END_TYPE, Entry, check_type
from .base import Format, check_id, check_retry, line_value


class TextFormat(Format):
    """Data as plain text."""

    name: ClassVar[str] = "text"
    content_type: ClassVar[str] = "text/plain; charset=utf-8"
    media_types: ClassVar[tuple[str, ...]] = ("text/plain",)
    tells: ClassVar[bool] = False

    @override
    def body(self, channel: str, entry: Entry) -> bytes:
        if entry.type == END_TYPE:
            return b""
        return _as_text(entry.data, entry.kind)

    @override
    def with_id(self, body: bytes, id: bytes) -> bytes:
        return body

    @override
    def without_id(self, body: bytes) -> bytes:
        return body

    @override
    def render(self, event_type: str | None, data: bytes, kind: str, id: str | None = None) -> bytes:
        if event_type is not None:  # the same rules for every format, though this one shows neither
            check_type(event_type)
        if id is not None:
            line_value("an id", id)
        return _as_text(data, kind)

    @override
    def control(
        self,
        event_type: str,
        data: Mapping[str, Any],
        *,
        channel: str | None = None,
        id: bytes | None = None,
        retry_ms: int | None = None,
    ) -> bytes:
        if id is not None:
            check_id(id)
        if retry_ms is not None:
            check_retry(retry_ms)
        return b""

    @override
    def heartbeat(self) -> bytes:
        return b""

    @override
    def comment(self, text: str) -> bytes:
        line_value("a comment", text)
        return b""


class BytesFormat(TextFormat):
    """The same bytes for what is not text."""

    name: ClassVar[str] = "bytes"
    content_type: ClassVar[str] = "application/octet-stream"
    media_types: ClassVar[tuple[str, ...]] = ("application/octet-stream",)


def _as_text(data: bytes, kind: str) -> bytes:
    if kind == "T":
        return data
    if data.lstrip(b" \t\r\n").startswith(b'"'):
        try:
            text: str = json.loads(data)
        except ValueError:  # `Json` is trusted, not checked; a reader must not fail over it
            return data + b"\n"
        return text.encode("utf-8", "replace")  # JSON can escape a lone surrogate, UTF-8 cannot carry it
    return data + b"\n"


TEXT_FORMAT = TextFormat()
BYTES_FORMAT = BytesFormat()
