"""Plain text: the data and nothing else."""

from __future__ import annotations

from hypothesis import given

from sse_bridge.wire import BYTES_FORMAT, TEXT_FORMAT
from tests.wire.cases import json_entry, make_entry, text_entry, texts


@given(texts)
def test_text_and_json_strings_go_out_unquoted_so_that_tokens_join(text: str) -> None:
    for entry in (text_entry(text), json_entry(text)):
        body = TEXT_FORMAT.body("c", entry)
        assert body == TEXT_FORMAT.with_id(body, b"p") == TEXT_FORMAT.without_id(body) == text.encode()


def test_other_json_is_a_line() -> None:
    assert TEXT_FORMAT.body("c", json_entry({"a": 1})) == b'{"a": 1}\n'
    assert TEXT_FORMAT.render(None, b"null", "J") == b"null\n"


def test_what_cannot_be_unquoted_goes_out_as_it_is() -> None:
    assert TEXT_FORMAT.render(None, b'"\\ud800"', "J") == b"?"
    assert TEXT_FORMAT.body("c", make_entry("x", "J", b'"open')) == b'"open\n'


def test_bytes_are_the_same_under_another_type() -> None:
    assert BYTES_FORMAT.render(None, b"\xff\x00", "T") == b"\xff\x00"
    assert BYTES_FORMAT.content_type == "application/octet-stream"


def test_control_events_have_no_place() -> None:
    assert not TEXT_FORMAT.tells
    for frame in (
        TEXT_FORMAT.control("stream.open", {}, id=b"p", retry_ms=2000),
        TEXT_FORMAT.gap("c", "slow", None, b"p"),
        TEXT_FORMAT.position(b"p"),
        TEXT_FORMAT.end("c", None, b"p"),
        TEXT_FORMAT.body("c", json_entry({"channel": "c", "reason": None}, "stream.end")),
        TEXT_FORMAT.error("boom"),
        TEXT_FORMAT.retry(2000),
        TEXT_FORMAT.heartbeat(),
    ):
        assert frame == b""
