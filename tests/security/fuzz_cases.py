"""What must hold for any bytes: encoders, ids, records, announcements, a WebSocket's messages, tokens.

Each case takes bytes; anything but the errors that it names is a finding. `fuzz_encoder` runs them on atheris's inputs,
`test_fuzz` on hypothesis's.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from sse_bridge import Settings
from sse_bridge.errors import ForeignRecord, InvalidInput, NotAuthenticated
from sse_bridge.events import Entry
from sse_bridge.filters import PUBLIC
from sse_bridge.records.codec import decode_announcement, decode_record, parse_id
from sse_bridge.streams.websockets.messages import parse_command
from sse_bridge.tokens import _claims
from sse_bridge.wire import JSON_ARRAY_FORMAT, NDJSON_FORMAT, SSE_FORMAT, TEXT_FORMAT, WEBSOCKET_FORMAT
from tests.wire.decoders import decode_by_the_standard

SETTINGS = Settings(token_secret="the secret of the fuzzer, long enough")
ENVELOPES = (NDJSON_FORMAT, JSON_ARRAY_FORMAT, WEBSOCKET_FORMAT)


def one_sse_frame(frame: bytes, data: bytes, type: str, id: str) -> None:
    """A browser sees exactly one event, of this type and id, with this data."""
    events = decode_by_the_standard(frame)
    assert len(events) == 1, frame
    text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    # the standard's decoder drops one BOM at the very start, and ours is asked for whole streams
    assert (events[0].type, events[0].data, events[0].id) == (type, text, id), frame


def one_envelope(frame: bytes, type: str) -> None:
    """A JSON parser sees exactly one object on one line."""
    line = frame.decode("utf-8")  # a WebSocket's text frame must be UTF-8
    body = line.removesuffix("\n")
    assert "\n" not in body, frame
    assert "\r" not in body, frame
    assert json.loads(body)["type"] == type, frame


def encoder(raw: bytes) -> None:
    """An application's event: refused, or one frame in every format."""
    head, _, data = raw.partition(b"|")
    type_, _, id_ = head.decode("utf-8", "surrogateescape").partition(",")
    try:
        frame = SSE_FORMAT.render(type_ or None, data, "T", id_)
    except InvalidInput:
        for wire in (*ENVELOPES, TEXT_FORMAT):  # the same rules everywhere
            try:
                wire.render(type_ or None, data, "T", id_)
            except InvalidInput:
                continue
            raise AssertionError(f"{wire.name} took what SSE refuses: {raw!r}") from None
        return
    one_sse_frame(frame, data, type_ or "message", id_)
    for wire in ENVELOPES:
        one_envelope(wire.render(type_ or "message", data, "T", id_), type_ or "message")


def position(raw: bytes) -> None:
    """An id: None, or what it says, word for word."""
    text = raw.decode("latin-1")
    found = parse_id(text)
    if found is not None:
        assert ".".join(map(str, found.values())) == text


def of_entry(entry: Entry) -> None:
    """What was taken for a record is one frame in every format, and no hidden one is public."""
    if entry.visibility in "mi":
        assert not PUBLIC.matches("c", entry)
    id_ = b"abcdefgh-E-1-C"
    one_sse_frame(SSE_FORMAT.with_id(SSE_FORMAT.body("c", entry), id_), entry.data, entry.type, id_.decode())
    for wire in ENVELOPES:
        frame = wire.with_id(wire.body("c", entry), id_)
        frame.decode("utf-8")
        assert b"\n" not in frame.removesuffix(b"\n")
        if entry.kind == "T":
            one_envelope(frame, entry.type)
    TEXT_FORMAT.body("c", entry)


def record(raw: bytes) -> None:
    try:
        of_entry(decode_record(b"Epoch123", raw))
    except ForeignRecord:
        return


def near_record(raw: bytes) -> None:
    """Most random bytes are refused at the first field, so begin with a good head."""
    record(b"1 1 0 1790000000000 Check123 uT " + raw)


def announcement(raw: bytes) -> None:
    try:
        for entry in decode_announcement(raw).entries:
            of_entry(entry)
    except ForeignRecord:
        return


def command(raw: bytes) -> None:
    for message in (raw, raw.decode("utf-8", "surrogateescape")):
        try:
            parse_command(message)
        except InvalidInput:
            continue


def token(raw: bytes) -> None:
    try:
        _claims(SETTINGS, raw.decode("latin-1"))
    except NotAuthenticated:
        return
    raise AssertionError("nobody guesses a signature")


CASES: tuple[Callable[[bytes], None], ...] = (
    encoder, position, record, near_record, announcement, command, token,
)  # fmt: skip


_RECORD = b"1 1 0 1790000000000 Check123 uT order.paid\ndata"
_GOOD: dict[str, tuple[bytes, ...]] = {
    "encoder": (b"order.paid,abcdefgh-E-1-C|line\nline\r\nline", b"|", b"message,|\xe2\x80\xa8\xc2\x85\x0b\x1c"),
    "position": (b"abcdefgh-Epoch123-17-Check123", b"abcdefgh-E-1-C.bcdefghi-F-2-D-e"),
    "record": (_RECORD, b"~ 1 0 1790000000000 Check123 lJ a\n{}", b"1 1 0 1790000000000 Check123 mB a\n\xff"),
    "near_record": (b"order.paid\ndata", b"\n"),
    "announcement": (
        b"Epoch123 1 %d\n%b" % (len(_RECORD), _RECORD),
        b"Epoch123 2 %d %d\n%b%b" % (len(_RECORD), len(_RECORD), _RECORD, _RECORD),
        b"Epoch123 1\n",
    ),
    "command": (
        b'{"type":"subscribe","channels":["a","b"],"after":"abcdefgh-E-1-C"}',
        b'{"type":"subscribe","channels":["a"],"last":5}',
        b'{"type":"unsubscribe","channels":["a"]}',
        b'{"type":"cancel","run":1}',
        b'{"type":"ping"}',
    ),
    "token": (b"eyJhbGciOiJIUzI1NiJ9.eyJjaCI6WyJhIl19.AAAA", b"eyJhbGciOiJub25lIn0.eyJjaCI6WyJhIl19."),
}
# one input per case and word, as `one_case` takes it
SEEDS: tuple[bytes, ...] = tuple(
    bytes([number]) + good for number, case in enumerate(CASES) for good in _GOOD[case.__name__]
)


def one_case(raw: bytes) -> None:
    if raw:
        CASES[raw[0] % len(CASES)](raw[1:])
