"""What could break out of its line is rejected, in every format and on every path."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.errors import InvalidEventType, InvalidInput
from sse_bridge.wire import JSON_ARRAY_FORMAT, NDJSON_FORMAT, SSE_FORMAT, Format
from tests.wire.cases import ALL_FORMATS, ENVELOPE_FORMATS, make_entry

every_format = pytest.mark.parametrize("wire", ALL_FORMATS, ids=lambda wire: wire.name)

BAD_LINES = ["\n", "\r", "\0", "a\nb", "a\r\nb", "x\r", "7\n\nevent: open\ndata: forged", "\ud800", "a\udfffb"]


@every_format
@pytest.mark.parametrize("bad", BAD_LINES, ids=ascii)
def test_no_line_takes_them(wire: Format, bad: str) -> None:
    for attempt in (
        lambda: wire.render("token", b"1", "J", bad),
        lambda: wire.render(bad, b"1", "J"),
    ):
        with pytest.raises(InvalidInput):
            attempt()


@pytest.mark.parametrize("wire", [SSE_FORMAT, *ENVELOPE_FORMATS], ids=lambda wire: wire.name)
@pytest.mark.parametrize("bad", BAD_LINES, ids=ascii)
def test_no_type_of_a_stored_entry_takes_them(wire: Format, bad: str) -> None:
    with pytest.raises(InvalidInput):
        wire.body("c", make_entry(bad, "J", b"1"))
    with pytest.raises(InvalidInput):
        wire.control(bad, {})


@pytest.mark.parametrize("wire", ENVELOPE_FORMATS, ids=lambda wire: wire.name)
@pytest.mark.parametrize("bad", BAD_LINES, ids=ascii)
def test_no_channel_takes_them(wire: Format, bad: str) -> None:
    with pytest.raises(InvalidInput):
        wire.body(bad, make_entry("x", "J", b"1"))
    with pytest.raises(InvalidInput):
        wire.gap(bad, "slow", None, b"p")


def position_frame(wire: Format, position: bytes) -> bytes:
    return wire.position(position)


ID_PATHS: list[Callable[[Format, bytes], bytes]] = [
    lambda wire, position: wire.with_id(wire.body("c", make_entry("x", "J", b"1")), position),
    lambda wire, position: wire.control("stream.open", {}, id=position),
    lambda wire, position: wire.gap("c", "slow", None, position),
    position_frame,
    lambda wire, position: wire.end("c", None, position),
]


@pytest.mark.parametrize("wire", [SSE_FORMAT, *ENVELOPE_FORMATS], ids=lambda wire: wire.name)
@pytest.mark.parametrize(
    "bad", [b"", b"a b", b"1\ndata: x", b"1\r", b"1\0", b'1"', b"\\", "é".encode(), b"\xff", b"1,2"]
)
def test_an_id_of_ours_holds_only_its_alphabet(wire: Format, bad: bytes) -> None:
    for path in ID_PATHS:
        if wire is JSON_ARRAY_FORMAT and path is position_frame:  # it writes no frame for the position alone
            continue
        with pytest.raises(InvalidInput):
            path(wire, bad)


@every_format
@pytest.mark.parametrize(
    "reserved", ["open", "error", "stream.gap", "stream.open", "stream.anything", "", " x", "a b", "é", "x" * 201]
)
def test_an_application_cannot_send_the_reserved_types(wire: Format, reserved: str) -> None:
    with pytest.raises(InvalidEventType):
        wire.render(reserved, b"1", "J")


@every_format
@pytest.mark.parametrize("wrong", [b"bytes", 7, None.__class__])
def test_lines_are_str(wire: Format, wrong: object) -> None:
    with pytest.raises(InvalidInput, match="str"):
        wire.render("token", b"1", "J", wrong)  # type: ignore[arg-type]


# -- an error's own text must not fail the error


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


cyclic: list[object] = []
cyclic.append(cyclic)
deep: list[object] = []
for _ in range(5000):
    deep = [deep]


@given(st.text(), st.none() | st.dictionaries(st.text(), st.text()))
def test_any_text_becomes_an_error_event(message: str, detail: dict[str, str] | None) -> None:
    assert SSE_FORMAT.error(message, detail).count(b"\n\n") == 1
    data = json.loads(NDJSON_FORMAT.error(message, detail))["data"]
    assert data["message"] == message.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("detail", [Silent(), cyclic, deep, float("nan"), {1: {2: "\ud800"}}, b"\xff", {"\ud800"}])
def test_any_detail_becomes_an_error_event(detail: object) -> None:
    event = json.loads(NDJSON_FORMAT.error("boom", {"detail": detail}))
    assert event["type"] == "stream.error"
    assert event["data"]["message"] == "boom"
