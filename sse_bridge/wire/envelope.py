"""The JSON envelope that NDJSON, JSON arrays and WebSocket messages share.

    {"type":"order.paid","channel":"orders:42","published_at_ms":1790000000000,"data":{…},"id":"…"}

``data`` is the event's own JSON, spliced in without parsing, or a string for `Text`. ``id`` is missing on ephemeral
events; control events have no ``published_at_ms``, and no ``channel`` unless they concern one; ``retry_ms`` stands
for the ``retry:`` line of SSE. The id comes last, so that all bytes before it can be shared.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

from typing_extensions import override

from ..events import Entry, check_type
from .base import ControlEvent, Format, check_id, encode_json, line_value


class EnvelopeFormat(Format):
    """Formats whose frames are one JSON object each; `terminator` ends a frame."""

    terminator: ClassVar[bytes] = b""
    bare_items: ClassVar[bool] = False  # a source's plain items have no envelope

    @override
    def body(self, channel: str, entry: Entry) -> bytes:
        return b'{"type":%b,"channel":%b,"published_at_ms":%d,"data":%b' % (
            _type_string(entry.type), _channel_string(channel), entry.time_ms, json_value(entry.data, entry.kind),
        )  # fmt: skip

    @override
    def with_id(self, body: bytes, id: bytes) -> bytes:
        return b'%b,"id":"%b"}%b' % (body, check_id(id), self.terminator)

    @override
    def without_id(self, body: bytes) -> bytes:
        return b"%b}%b" % (body, self.terminator)

    @override
    def heartbeat(self) -> bytes:
        return b"\n"  # white space between two JSON values: an empty line, or nothing in an array

    @override
    def render(self, event_type: str | None, data: bytes, kind: str, id: str | None = None) -> bytes:
        if event_type is None and id is None and self.bare_items:
            return json_value(data, kind) + self.terminator
        type_string = _type_string("message" if event_type is None else check_type(event_type))
        id_member = b"" if id is None else b',"id":' + _string("an id", id)
        return b'{"type":' + type_string + b',"data":' + json_value(data, kind) + id_member + b"}" + self.terminator

    @override
    def control_frame(self, event: ControlEvent) -> bytes:
        channel_member = b"" if event.channel is None else b',"channel":' + _channel_string(event.channel)
        retry_member = b"" if event.retry_ms is None else b',"retry_ms":%d' % event.retry_ms
        id_member = b"" if event.id is None else b',"id":"%b"' % event.id
        return b'{"type":%b%b,"data":%b%b%b}%b' % (
            _type_string(event.type), channel_member, encode_json(event.data), retry_member, id_member, self.terminator,
        )  # fmt: skip


def json_value(data: bytes, kind: str) -> bytes:
    """An event's data as JSON on one line: `Json` unchanged, `Text` as a string.

    Always valid UTF-8, since a WebSocket server closes the connection over anything else.
    """
    if kind == "T":
        return encode_json(data.decode("utf-8", "replace"))
    try:
        data.decode()
    except UnicodeDecodeError:
        data = data.decode("utf-8", "replace").encode()
    if b"\n" in data or b"\r" in data:  # between tokens, since JSON escapes them in strings
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return data


def _string(what: str, value: str) -> bytes:
    line_value(what, value)
    return encode_json(value)


@lru_cache(maxsize=4096)
def _type_string(event_type: str) -> bytes:
    return _string("an event type", event_type)


@lru_cache(maxsize=4096)
def _channel_string(channel: str) -> bytes:
    return _string("a channel name", channel)
