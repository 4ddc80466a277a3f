"""Server-sent events for strict clients: each frame is a message, and nothing else looks like one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.wire import SSE_DATA_FORMAT, TYPED_SSE_DATA_FORMAT
from tests.wire.cases import Case, cases, chunked, json_entry, make_entry, text_entry
from tests.wire.decoders import decode_by_the_standard, decode_like_the_sdks

NOISE = [
    SSE_DATA_FORMAT.control("stream.open", {}, id=b"p", retry_ms=2000),
    SSE_DATA_FORMAT.heartbeat(),
    SSE_DATA_FORMAT.gap("orders:42", "trimmed", 7, b"p"),
    SSE_DATA_FORMAT.position(b"p"),
    SSE_DATA_FORMAT.end("orders:42", "completed", b"p"),
    SSE_DATA_FORMAT.error("boom"),
    SSE_DATA_FORMAT.retry(2000, "drain"),
    SSE_DATA_FORMAT.with_id(SSE_DATA_FORMAT.body("c", json_entry({"reason": None}, "stream.end")), b"p-e"),
]
noise = st.lists(st.sampled_from(NOISE), max_size=3).map(b"".join)


def frame(case: Case) -> bytes:
    body = SSE_DATA_FORMAT.body("orders:42", case.entry())
    return SSE_DATA_FORMAT.without_id(body) if case.id is None else SSE_DATA_FORMAT.with_id(body, case.id)


@given(st.lists(st.tuples(noise, cases), max_size=6), st.data())
def test_strict_decoders_get_the_data_and_nothing_else(events: list[tuple[bytes, Case]], data: st.DataObject) -> None:
    stream = b"".join(before + frame(case) for before, case in events)
    expected = [case.data_line_text() for _, case in events]
    assert [received.data for received in decode_like_the_sdks(data.draw(chunked(stream)))] == expected
    received = decode_by_the_standard(stream)
    assert [each.data for each in received] == expected
    assert {each.type for each in received} <= {"message"}


def test_no_line_names_an_event_or_a_control_event() -> None:
    whole = b"".join(NOISE) + frame(Case("order.paid", {"a": 1}, b"p-1"))
    assert b"event:" not in whole
    assert b"retry:" not in whole
    assert all(line.startswith(b":") for line in b"".join(NOISE).splitlines())
    assert frame(Case("order.paid", {"a": 1}, b"p-1")) == b'id: p-1\ndata: {"a":1}\n\n'


def test_the_first_piece_is_not_empty() -> None:
    assert SSE_DATA_FORMAT.control("stream.open", {}, id=b"p", retry_ms=2000) == b":\n"


def test_a_gap_is_told_to_who_looks_at_the_bytes() -> None:
    gap = SSE_DATA_FORMAT.gap("orders:42", "trimmed", 7, b"p")
    assert gap == b': stream.gap {"channel":"orders:42","reason":"trimmed","missed":7}\n'


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b'{"status":"paid"}', {"type": "order.paid", "status": "paid"}),
        (b' { "status" : 1 }', {"type": "order.paid", "status": 1}),
        (b"{}", {"type": "order.paid"}),
        (b"{ }", {"type": "order.paid"}),
        (b'{"type":"their own"}', {"type": "their own"}),
        (b'{"a":{"type":"inside"}}', {"type": "order.paid", "a": {"type": "inside"}}),
        (b'{"a":"\\"type\\""}', {"type": "order.paid", "a": '"type"'}),
        (b"[1]", {"type": "order.paid", "data": [1]}),
        (b"null", {"type": "order.paid", "data": None}),
        (b'"text"', {"type": "order.paid", "data": "text"}),
    ],
)
def test_the_type_stands_inside_of_the_data(data: bytes, shown: object) -> None:
    for whole in (
        TYPED_SSE_DATA_FORMAT.body("c", make_entry("order.paid", "J", data)),
        TYPED_SSE_DATA_FORMAT.render("order.paid", data, "J"),
    ):
        assert whole.startswith(b"data: ")
        assert json.loads(whole.removeprefix(b"data: ")) == shown
        assert whole.count(b'"type"') <= 2


def test_text_with_a_type_is_wrapped_and_plain_items_stay() -> None:
    assert TYPED_SSE_DATA_FORMAT.body("c", text_entry("a\nb", "note")) == b'data: {"type":"note","data":"a\\nb"}\n\n'
    assert TYPED_SSE_DATA_FORMAT.render(None, b"[DONE]", "T") == b"data: [DONE]\n\n"
    assert TYPED_SSE_DATA_FORMAT.render(None, b'{"a":1}', "J") == b'data: {"a":1}\n\n'


@given(cases)
def test_typed_data_is_json_with_the_type(case: Case) -> None:
    whole = TYPED_SSE_DATA_FORMAT.body("c", case.entry())
    [received] = decode_by_the_standard(whole)
    value = json.loads(received.data)
    own = case.value()
    assert value["type"] == (own["type"] if isinstance(own, dict) and "type" in own else case.type)
    assert value == ({"type": case.type, **own} if isinstance(own, dict) else {"type": case.type, "data": own})
