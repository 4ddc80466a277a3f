"""The parser of client.js under Node: the standard's examples, and random bytes in random pieces against npm's parser."""

from __future__ import annotations

import base64
import json
import random
import re
from typing import Any

from tests.client.conftest import CLIENT
from tests.support.node import node_run
from tests.support.requires import needs_node

pytestmark = needs_node

# Each case is a list of pieces; ours decodes and parses it as client.js does, npm's by the same decoder.
PROGRAM = """
import { createParser } from %r;
import { createParser as createTheirs } from "eventsource-parser";
let text = "";
for await (const part of process.stdin) text += part;
const results = JSON.parse(text).map((pieces) => {
  const bytes = pieces.map((piece) => Buffer.from(piece, "base64"));
  const run = (parse) => {
    const decoder = new TextDecoder();
    for (const piece of bytes) parse(decoder.decode(piece, { stream: true }));
  };
  const ours = { events: [], retries: [], ids: [] };
  run(createParser({
    onEvent: (e) => ours.events.push([e.type, e.data, e.lastEventId]),
    onRetry: (ms) => ours.retries.push(ms),
    onId: (id) => ours.ids.push(id),
    lastEventId: "before",
  }));
  const theirs = { events: [], retries: [] };
  const parser = createTheirs({
    onEvent: (e) => theirs.events.push([e.event || "message", e.data]),
    onRetry: (ms) => theirs.retries.push(ms),
  });
  run((piece) => parser.feed(piece));
  return { ours, theirs };
});
console.log(JSON.stringify(results));
"""


def parsed(*cases: list[bytes]) -> list[dict[str, Any]]:
    stdin = json.dumps([[base64.b64encode(piece).decode() for piece in case] for case in cases])
    results: list[dict[str, Any]] = json.loads(node_run(PROGRAM % CLIENT.as_uri(), stdin=stdin))
    return results


def slowly(data: bytes) -> list[list[str]]:
    """The standard's steps, one after the other."""
    events, id, type, lines = [], "before", "", []
    for line in re.split("\r\n|\r|\n", data.decode(errors="replace").removeprefix("\ufeff"))[:-1]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if lines:
                events.append([type or "message", "\n".join(lines), id])
            type, lines = "", []
        elif field == "data":
            lines.append(value)
        elif field == "event":
            type = value
        elif field == "id" and "\0" not in value:
            id = value
    return events


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


# HTML standard, 9.2.6, and what 9.2.5 says about line ends, the mark, ids and retries
EXAMPLES: list[tuple[bytes, list[list[str]]]] = [
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [["message", "YHOO\n+2\n10", "before"]]),
    (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [["message", "first event", "1"], ["message", "second event", ""], ["message", " third event", ""]],
    ),
    (b"data\n\ndata\ndata\n\ndata:", [["message", "", "before"], ["message", "\n", "before"]]),
    (b"data:test\n\ndata: test\n\n", [["message", "test", "before"]] * 2),
    (b"\xef\xbb\xbfdata: mark\n\n\xef\xbb\xbfdata: not one\n\n", [["message", "mark", "before"]]),
    (b"data: a\rdata: b\r\ndata: c\n\r\n\rdata: d\r\r", [["message", "a\nb\nc", "before"], ["message", "d", "before"]]),
    (b"id: x\0y\ndata: 1\n\nid: ok\n\ndata: 2\n\n", [["message", "1", "before"], ["message", "2", "ok"]]),
    (b"event: a\n\ndata: 1\n\nevent: b\ndata: 2\n\ndata: 3\n\n",
     [["message", "1", "before"], ["b", "2", "before"], ["message", "3", "before"]]),
    (b"data: lost, for no blank line follows\n", []),
    ("data: é\u2028\u2029\x85\x0b\x0c\x1c\n\n".encode(), [["message", "é\u2028\u2029\x85\x0b\x0c\x1c", "before"]]),
    (b"data: \xff\xfe|\xc3\n\n", [["message", "\ufffd\ufffd|\ufffd", "before"]]),
    (b"Data: no\n data: no\nunknown: 1\n:data: no\nid : 3\ndata: yes\n\n", [["message", "yes", "before"]]),
]  # fmt: skip


def test_the_examples_of_the_standard_in_one_piece_and_byte_by_byte() -> None:
    whole = parsed(*[[data] for data, _ in EXAMPLES])
    single = parsed(*[bytewise(data) for data, _ in EXAMPLES])
    for (data, events), one, other in zip(EXAMPLES, whole, single, strict=True):
        assert one["ours"]["events"] == events, data
        assert other["ours"] == one["ours"], data


def test_only_digits_are_a_retry() -> None:
    (result,) = parsed([b"retry: 12\nretry: 1.5\nretry: -3\nretry:\nretry: 7x\nretry: \xd9\xa3\nretry:007\n"])
    assert result["ours"]["retries"] == [12, 7]
    assert result["ours"]["ids"] == []


def test_an_id_is_told_at_the_end_of_its_frame() -> None:
    (result,) = parsed([b"id: 1\n\nid: 2\ndata: x\n\nid: cut"])
    assert result["ours"]["ids"] == ["1", "2"]


def test_random_streams_in_random_pieces() -> None:
    """Against npm `eventsource-parser`, which keeps no id over events, and against the standard's steps on the whole text."""
    chance = random.Random(20)
    parts = [b"data: x", b"data:", b"data", b"event: t", b"event:", b"id: 1", b"id: 22", b": c", b"retry: 5", b"\n", b"\n\n",
             b"\r\n", b"\r", b"\r\n\r\n", "é\u2028😀".encode(), b" ", b":", b"foo: bar"]  # fmt: skip
    cases = []
    for _ in range(400):
        data = b"".join(chance.choices(parts, k=chance.randint(1, 40))) + b"\n\n"
        pieces = []
        while data:
            size = chance.choice([1, 2, 3, 7, 50])
            pieces.append(data[:size])
            data = data[size:]
        cases.append(pieces)
    for case, result in zip(cases, parsed(*cases), strict=True):
        ours, theirs = result["ours"], result["theirs"]
        assert [event[:2] for event in ours["events"]] == theirs["events"], case
        assert ours["retries"] == theirs["retries"], case
        assert ours["events"] == slowly(b"".join(case)), case
