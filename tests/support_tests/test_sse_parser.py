"""The strict parser agrees with two independent ones on valid streams and refuses what sse_bridge must not write."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.node import node_run
from tests.support.requires import needs_node
from tests.support.sse_parser import SSEParser, parse, parse_with_httpx_sse

STREAM = (
    b"retry: 2500\nevent: stream.open\nid: a.0\ndata: {}\n\n"
    b": heartbeat\nid: a.1\ndata: one\ndata: two\n\n"
    b"event: order.paid\ndata: \xe2\x82\xac\xe2\x80\xa8x\n\n"
)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=80))
def test_any_split_gives_the_same_frames(sizes: list[int]) -> None:
    parser, frames, rest = SSEParser(), [], STREAM
    for size in [*sizes, len(STREAM)]:
        frames += parser.feed(rest[:size])
        rest = rest[size:]
    assert frames == parse(STREAM)
    assert parser.comments == [" heartbeat"]
    assert parser.retry == 2500


def test_ids_stand_until_the_next_one() -> None:
    assert [(frame.id, frame.own_id) for frame in parse(STREAM)] == [("a.0", True), ("a.1", True), ("a.1", False)]


def test_httpx_sse_agrees() -> None:
    theirs = [(event.id, event.event, event.data) for event in parse_with_httpx_sse([STREAM[:30], STREAM[30:]])]
    assert theirs == [(frame.id, frame.event, frame.data) for frame in parse(STREAM)]


@needs_node
def test_eventsource_parser_agrees() -> None:
    chunks = [base64.b64encode(part).decode() for part in (STREAM[:30], STREAM[30:])]
    answer = json.loads(node_run("parse.mjs", stdin=json.dumps({"chunks": chunks})))
    assert [event["data"] for event in answer["events"]] == [frame.data for frame in parse(STREAM)]
    assert answer["retries"] == [2500]


@pytest.mark.parametrize(
    "bad",
    [
        b"data: x\r\n\r\n",
        b"\xef\xbb\xbfdata: x\n\n",
        b"data: \xff\n\n",
        b"retry: 12a\ndata: x\n\n",
        b"retry: 3000\n\n",
        b"id: a\0b\ndata: x\n\n",
        b"id: a\nid: b\ndata: x\n\n",
        b"note: x\n\n",
        b"data:x\n\n",
        b"data: x\n",
    ],
)
def test_refuses(bad: bytes) -> None:
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        parse(bad)
