"""JSON envelopes: as lines (NDJSON), as elements of one array, and as WebSocket messages.

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
from .base import Format, check_id, encode_json, line_value


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
    def control_frame(
        self, event_type: str, data: bytes, channel: str | None, id: bytes | None, retry_ms: int | None
    ) -> bytes:
        channel_member = b"" if channel is None else b',"channel":' + _channel_string(channel)
        retry_member = b"" if retry_ms is None else b',"retry_ms":%d' % retry_ms
        id_member = b"" if id is None else b',"id":"%b"' % id
        return b'{"type":%b%b,"data":%b%b%b}%b' % (
            _type_string(event_type), channel_member, data, retry_member, id_member, self.terminator,
        )  # fmt: skip


class NDJSON(EnvelopeFormat):
    """Newline-delimited JSON, for programs that read a stream with a JSON parser.

    A source's plain items are lines of their own, without an envelope. An empty line is a heartbeat; readers skip it.
    """

    name: ClassVar[str] = "ndjson"
    content_type: ClassVar[str] = "application/x-ndjson"
    media_types: ClassVar[tuple[str, ...]] = (
        "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
    )  # fmt: skip
    terminator: ClassVar[bytes] = b"\n"
    bare_items: ClassVar[bool] = True


class JSONArray(EnvelopeFormat):
    """One JSON array, for sources that end: clients that parse the whole body at once read it with any JSON parser.

    The elements are a source's plain items, or envelopes where it yields typed events. The format stays stateless: the
    source's script puts `prefix` before the first frame, `separator` between two and `suffix` after the last, also
    after an error. No frame opens or closes the stream: the array holds the source's items only.
    """

    name: ClassVar[str] = "json_array"
    content_type: ClassVar[str] = "application/json"
    media_types: ClassVar[tuple[str, ...]] = ("application/json",)
    prefix: ClassVar[bytes] = b"["
    separator: ClassVar[bytes] = b",\n"
    suffix: ClassVar[bytes] = b"]\n"
    bare_items: ClassVar[bool] = True

    @override
    def position(self, id: bytes) -> bytes:
        return b""

    @override
    def retry(self, retry_ms: int, reason: str | None = None) -> bytes:
        return b""


class WebSocket(EnvelopeFormat):
    """One envelope per text message; servers decode the bytes as UTF-8, so frames are always valid UTF-8.

    Browsers show no ping frames to a page, so a heartbeat is a message that a client can watch for; the library's own
    clients answer none.
    """

    name: ClassVar[str] = "websocket"
    content_type: ClassVar[str] = "application/json"  # of one message, since there is no response
    media_types: ClassVar[tuple[str, ...]] = ()
    joins: ClassVar[bool] = False

    @override
    def heartbeat(self) -> bytes:
        return b'{"type":"stream.heartbeat"}'


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


NDJSON_FORMAT = NDJSON()
JSON_ARRAY_FORMAT = JSONArray()
WEBSOCKET_FORMAT = WebSocket()
