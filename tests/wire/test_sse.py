"""Server-sent events: the standard's clause 9.2 as a checklist, and other people's parsers as judges."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_bridge.encoding import encode_data
from sse_bridge.errors import InvalidInput
from sse_bridge.events import Text
from sse_bridge.wire import SSE_FORMAT
from tests.support.node import FOLDER, ensure_packages
from tests.support.requires import require
from tests.support.sse_parser import parse, parse_with_httpx_sse
from tests.wire.cases import CONTROLS, Case, cases, chunked, ids, json_entry, make_entry, text_entry, texts, types
from tests.wire.decoders import Received, decode_by_the_standard, decode_like_the_sdks


def frame(case: Case) -> bytes:
    body = SSE_FORMAT.body("orders:42", case.entry())
    whole = SSE_FORMAT.without_id(body) if case.id is None else SSE_FORMAT.with_id(body, case.id)
    return SSE_FORMAT.heartbeat() + whole if case.heartbeat else whole


def expected(events: list[Case]) -> list[Received]:
    last_id = ""
    received = []
    for case in events:
        last_id = last_id if case.id is None else case.id.decode()
        received.append(Received(case.type, case.data_line_text(), last_id))
    return received


streams = st.lists(cases, max_size=8)


# -- differential


@given(streams, st.data())
def test_the_standards_algorithm_gets_back_what_was_published(events: list[Case], data: st.DataObject) -> None:
    stream = b"".join(map(frame, events))
    assert decode_by_the_standard(stream) == expected(events)


@given(streams, st.data())
def test_httpx_sse_gets_back_what_was_published(events: list[Case], data: st.DataObject) -> None:
    chunks = data.draw(chunked(b"".join(map(frame, events))))
    received = [Received(event.event, event.data, event.id) for event in parse_with_httpx_sse(chunks)]
    assert received == expected(events)


@given(streams, st.data())
def test_decoders_that_cut_at_blank_lines_get_back_what_was_published(events: list[Case], data: st.DataObject) -> None:
    chunks = data.draw(chunked(b"".join(map(frame, events))))
    assert decode_like_the_sdks(chunks) == expected(events)


NODE_PROGRAM = """
import { createParser } from "eventsource-parser";
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  const events = [];
  const parser = createParser({
    onEvent: (event) => events.push([event.event ?? "message", event.data, event.id ?? null]),
    onError: (error) => events.push(["parse error", String(error), null]),
  });
  const decoder = new TextDecoder();
  for (const chunk of JSON.parse(line)) parser.feed(decoder.decode(Buffer.from(chunk, "base64"), { stream: true }));
  console.log(JSON.stringify(events));
}
"""

NodeParser = Callable[[list[bytes]], list[list[str | None]]]


@pytest.fixture(scope="module")
def eventsource_parser() -> Iterator[NodeParser]:
    """npm's eventsource-parser in one process for all cases: a list of chunks in, its events out, a line each."""
    require("node")
    ensure_packages()
    command = ["node", "--input-type=module", "--eval", NODE_PROGRAM]
    with subprocess.Popen(command, cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask(chunks: list[bytes]) -> list[list[str | None]]:
            stdin.write(json.dumps([b64encode(chunk).decode() for chunk in chunks]).encode() + b"\n")
            stdin.flush()
            answer: list[list[str | None]] = json.loads(stdout.readline())
            return answer

        yield ask


@settings(max_examples=300)
@given(events=streams, data=st.data())
def test_eventsource_parser_gets_back_what_was_published(
    eventsource_parser: NodeParser, events: list[Case], data: st.DataObject
) -> None:
    chunks = data.draw(chunked(b"".join(map(frame, events))))
    own_ids = [[case.type, case.data_line_text(), case.id and case.id.decode()] for case in events]
    assert eventsource_parser(chunks) == own_ids


# -- every frame is whole, and nothing ends a line but LF


@given(cases)
def test_a_frame_ends_with_the_only_blank_line_in_it(case: Case) -> None:
    whole = frame(case)
    assert whole.endswith(b"\n\n")
    assert whole.count(b"\n\n") == 1
    assert b"\r" not in whole


@given(cases)
def test_every_frame_has_data_and_passes_the_strict_parser(case: Case) -> None:
    [parsed] = parse(frame(case))
    assert parsed.data == case.data_line_text()


@given(types, texts, st.none() | texts)
def test_an_applications_own_event(type: str, text: str, id: str | None) -> None:
    kind, data = encode_data(Text(text), 1_000_000)
    if id is not None and set(id) & CONTROLS:
        with pytest.raises(InvalidInput):
            SSE_FORMAT.render(type, data, kind, id)
        return
    whole = SSE_FORMAT.render(type, data, kind, id)
    [received] = decode_by_the_standard(whole)
    assert received == Received(type, text.replace("\r\n", "\n").replace("\r", "\n"), id or "")


# -- clause 9.2


def render(text: str, type: str | None = None, id: str | None = None) -> bytes:
    return SSE_FORMAT.render(type, text.encode(), "T", id)


def test_9_2_1_the_introductory_examples() -> None:
    assert render("This is the first message.") == b"data: This is the first message.\n\n"
    second = "This is the second message, it\nhas two lines."
    assert render(second) == b"data: This is the second message, it\ndata: has two lines.\n\n"
    assert render("73857293", "add") == b"event: add\ndata: 73857293\n\n"
    assert render("2153", "remove") == b"event: remove\ndata: 2153\n\n"


def test_9_2_6_the_stock_ticker() -> None:
    assert render("YHOO\n+2\n10") == b"data: YHOO\ndata: +2\ndata: 10\n\n"
    assert decode_by_the_standard(render("YHOO\n+2\n10")) == [Received("message", "YHOO\n+2\n10", "")]


def test_9_2_6_four_blocks_with_comment_ids_and_a_leading_space() -> None:
    stream = b": test stream\n" + render("first event", id="1") + render("second event", id="")
    stream += render(" third event")
    assert decode_by_the_standard(stream) == [
        Received("message", "first event", "1"),
        Received("message", "second event", ""),
        Received("message", " third event", ""),
    ]


def test_9_2_6_no_data_line_no_event_but_one_empty_line_is_one() -> None:
    assert render("") == b"data: \n\n"
    assert decode_by_the_standard(render("")) == [Received("message", "", "")]
    assert decode_by_the_standard(render("\n")) == [Received("message", "\n", "")]


def test_9_2_6_only_one_space_after_the_colon_is_removed() -> None:
    assert decode_by_the_standard(render("  two")) == [Received("message", "  two", "")]


@pytest.mark.parametrize("line_end", ["\r\n", "\r", "\n"])
def test_9_2_5_each_of_the_three_line_ends_starts_a_data_line(line_end: str) -> None:
    assert render(f"a{line_end}b{line_end}") == b"data: a\ndata: b\ndata: \n\n"


@pytest.mark.parametrize("other", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_9_2_5_nothing_else_ends_a_line(other: str) -> None:
    assert render(f"a{other}b") == f"data: a{other}b\n\n".encode()


def test_9_2_5_a_byte_order_mark_is_lost_only_at_the_start_where_no_stream_of_ours_has_data() -> None:
    stream = SSE_FORMAT.control("stream.open", {}, id=b"x", retry_ms=2000) + render("\ufeffa")
    assert decode_by_the_standard(stream)[1].data == "\ufeffa"


def test_9_2_6_the_type_message_needs_no_line() -> None:
    assert SSE_FORMAT.body("c", json_entry(1, "message")) == b"data: 1\n\n"
    assert SSE_FORMAT.body("c", json_entry(1, "order.paid")) == b"event: order.paid\ndata: 1\n\n"


def test_9_2_6_an_event_without_an_id_keeps_the_last_one() -> None:
    stored = SSE_FORMAT.with_id(SSE_FORMAT.body("c", json_entry(1)), b"pos-1")
    ephemeral = SSE_FORMAT.without_id(SSE_FORMAT.body("c", json_entry(2)))
    assert b"id" not in ephemeral
    assert [event.id for event in decode_by_the_standard(stored + ephemeral)] == ["pos-1", "pos-1"]


def test_9_2_6_retry_is_ascii_digits() -> None:
    assert parse(SSE_FORMAT.control("stream.open", {}, id=b"x", retry_ms=2500))[0].retry == 2500
    for bad in (0, -1, True, 2.5, "3000"):
        with pytest.raises(InvalidInput):
            SSE_FORMAT.retry(bad)  # type: ignore[arg-type]


def test_json_with_line_breaks_is_still_the_same_json() -> None:
    foreign = make_entry("message", "J", b'{"a":\r\n1}')
    [received] = decode_by_the_standard(SSE_FORMAT.body("c", foreign))
    assert json.loads(received.data) == {"a": 1}


# -- control frames


@given(ids, st.integers(1, 2**31))
def test_the_first_frame_is_one_frame(id: bytes, retry_ms: int) -> None:
    [first] = parse(SSE_FORMAT.control("stream.open", {}, id=id, retry_ms=retry_ms))
    assert first == (id.decode(), "stream.open", "{}", retry_ms, True)


def test_control_frames() -> None:
    opened = SSE_FORMAT.control("stream.open", {}, id=b"p", retry_ms=2000)
    assert opened == b"retry: 2000\nid: p\nevent: stream.open\ndata: {}\n\n"
    gap = b'id: p\nevent: stream.gap\ndata: {"channel":"c","reason":"trimmed","missed":7}\n\n'
    assert SSE_FORMAT.gap("c", "trimmed", 7, b"p") == gap
    assert SSE_FORMAT.position(b"p") == b"id: p\nevent: stream.position\ndata: {}\n\n"
    assert SSE_FORMAT.retry(3000, "drain") == b'retry: 3000\nevent: stream.close\ndata: {"reason":"drain"}\n\n'
    assert SSE_FORMAT.error("boom") == b'event: stream.error\ndata: {"message":"boom"}\n\n'


def test_the_synthetic_end_is_the_stored_one() -> None:
    stored = SSE_FORMAT.body("run:9", json_entry({"channel": "run:9", "reason": None}, "stream.end"))
    synthetic = SSE_FORMAT.end("run:9", None, b"p")
    assert [(e.type, json.loads(e.data), e.id) for e in decode_by_the_standard(synthetic)] == [
        (e.type, json.loads(e.data), e.id) for e in decode_by_the_standard(SSE_FORMAT.with_id(stored, b"p"))
    ]


CONTROL = [
    SSE_FORMAT.control("stream.open", {}, id=b"p1", retry_ms=2000),
    SSE_FORMAT.with_id(SSE_FORMAT.body("c", text_entry("one")), b"p2"),
    SSE_FORMAT.gap("c", "trimmed", None, b"p3"),
    SSE_FORMAT.position(b"p4"),
    SSE_FORMAT.without_id(SSE_FORMAT.body("c", text_entry("two"))),
    SSE_FORMAT.end("c", "completed", b"p5"),
    SSE_FORMAT.error("boom"),
    SSE_FORMAT.retry(3000),
]
TYPES = [
    "stream.open", "message", "stream.gap", "stream.position", "message", "stream.end", "stream.error", "stream.close",
]  # fmt: skip


@given(st.data(), st.lists(st.integers(0, 3), min_size=len(CONTROL), max_size=len(CONTROL)))
def test_neither_heartbeats_nor_retry_make_an_empty_event(data: st.DataObject, beats: list[int]) -> None:
    quiet = SSE_FORMAT.heartbeat() + b": still here\n"
    stream = b"".join(quiet * n + each for n, each in zip(beats, CONTROL, strict=True))
    chunks = data.draw(chunked(stream))
    assert [event.type for event in decode_like_the_sdks(chunks)] == TYPES
    assert [event.event for event in parse_with_httpx_sse(chunks)] == TYPES
    assert [event.type for event in decode_by_the_standard(stream)] == TYPES


def test_a_heartbeat_is_a_comment_line_of_the_next_frame() -> None:
    assert SSE_FORMAT.heartbeat() == b":\n"
