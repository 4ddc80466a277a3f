"""NDJSON, JSON arrays and WebSocket messages: one envelope, three frames."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.wire import JSON_ARRAY_FORMAT, NDJSON_FORMAT, WEBSOCKET_FORMAT
from sse_bridge.wire.envelope import EnvelopeFormat
from tests.wire.cases import CONTROLS, ENVELOPE_FORMATS, Case, cases, json_entry, make_entry, texts

formats = st.sampled_from(ENVELOPE_FORMATS)


def frame(wire: EnvelopeFormat, case: Case) -> bytes:
    body = wire.body("orders:42", case.entry())
    return wire.without_id(body) if case.id is None else wire.with_id(body, case.id)


@given(formats, cases)
def test_any_json_parser_gets_back_what_was_published(wire: EnvelopeFormat, case: Case) -> None:
    wanted = {
        "type": case.type, "channel": "orders:42", "published_at_ms": 1_790_000_000_000, "data": case.value(),
    }  # fmt: skip
    if case.id is not None:
        wanted["id"] = case.id.decode()
    assert json.loads(frame(wire, case)) == wanted


@given(formats, cases)
def test_a_frame_is_one_line(wire: EnvelopeFormat, case: Case) -> None:
    whole = frame(wire, case)
    assert b"\r" not in whole
    assert whole.endswith(wire.terminator)
    assert b"\n" not in whole.removesuffix(wire.terminator)
    whole.decode("utf-8")


@pytest.mark.parametrize("wire", ENVELOPE_FORMATS)
@pytest.mark.parametrize("data", [b'{"a":\n1}', b'"\xff"'])
def test_json_that_came_from_elsewhere_is_still_one_line_of_utf8(wire: EnvelopeFormat, data: bytes) -> None:
    for whole in (wire.without_id(wire.body("c", make_entry("x", "J", data))), wire.render("x", data, "J")):
        assert b"\n" not in whole.removesuffix(wire.terminator)
        json.loads(whole.decode("utf-8"))


@given(st.lists(cases, max_size=5))
def test_ndjson_lines(events: list[Case]) -> None:
    stream = b"".join(NDJSON_FORMAT.heartbeat() + frame(NDJSON_FORMAT, case) for case in events)
    lines = [json.loads(line) for line in stream.split(b"\n") if line]
    assert [line["data"] for line in lines] == [case.value() for case in events]


@given(st.lists(cases, max_size=5), st.booleans())
def test_a_json_array_is_json(events: list[Case], beat: bool) -> None:
    frames = [frame(JSON_ARRAY_FORMAT, case) for case in events]
    quiet = JSON_ARRAY_FORMAT.heartbeat() if beat else b""
    body = JSON_ARRAY_FORMAT.prefix + quiet + (quiet + JSON_ARRAY_FORMAT.separator + quiet).join(frames)
    body += quiet + JSON_ARRAY_FORMAT.suffix
    assert [item["data"] for item in json.loads(body)] == [case.value() for case in events]


@pytest.mark.parametrize("wire", [NDJSON_FORMAT, JSON_ARRAY_FORMAT])
@given(text=texts)
def test_plain_items_stand_without_an_envelope(wire: EnvelopeFormat, text: str) -> None:
    assert json.loads(wire.render(None, text.encode(), "T")) == text
    assert json.loads(wire.render(None, b'{"a":1}', "J")) == {"a": 1}
    assert json.loads(wire.render("message", b'{"a":1}', "J")) == {"type": "message", "data": {"a": 1}}
    assert json.loads(wire.render(None, b"1", "J", "7")) == {"type": "message", "data": 1, "id": "7"}


def test_websocket_messages_always_have_an_envelope() -> None:
    assert json.loads(WEBSOCKET_FORMAT.render(None, b"1", "J")) == {"type": "message", "data": 1}
    assert not WEBSOCKET_FORMAT.joins
    assert json.loads(WEBSOCKET_FORMAT.heartbeat()) == {"type": "stream.heartbeat"}


@given(texts.map(lambda text: "".join(c for c in text if c not in CONTROLS)))
def test_an_applications_own_id_may_be_any_line(id: str) -> None:
    assert json.loads(NDJSON_FORMAT.render("token", b'"x"', "J", id)) == {"type": "token", "data": "x", "id": id}


@pytest.mark.parametrize("wire", [NDJSON_FORMAT, WEBSOCKET_FORMAT])
def test_control_events(wire: EnvelopeFormat) -> None:
    opened = json.loads(wire.control("stream.open", {}, id=b"p", retry_ms=2000))
    assert opened == {"type": "stream.open", "data": {}, "retry_ms": 2000, "id": "p"}
    assert json.loads(wire.gap("c", "slow", None, b"p")) == {
        "type": "stream.gap",
        "channel": "c",
        "data": {"channel": "c", "reason": "slow", "missed": None},
        "id": "p",
    }
    assert json.loads(wire.position(b"p")) == {"type": "stream.position", "data": {}, "id": "p"}
    assert json.loads(wire.retry(3000, "drain")) == {
        "type": "stream.close", "data": {"reason": "drain"}, "retry_ms": 3000,
    }  # fmt: skip
    stored = json.loads(wire.with_id(wire.body("c", json_entry({"channel": "c", "reason": "x"}, "stream.end")), b"p"))
    del stored["published_at_ms"]
    assert json.loads(wire.end("c", "x", b"p")) == stored


def test_a_json_array_has_no_last_frame_and_none_for_a_position() -> None:
    assert JSON_ARRAY_FORMAT.retry(2000) == JSON_ARRAY_FORMAT.position(b"p") == b""
    assert json.loads(JSON_ARRAY_FORMAT.error("boom")) == {"type": "stream.error", "data": {"message": "boom"}}
