"""Whatever reads text of a request takes time that grows with its length and no faster.

Each reader gets 16 and 64 kB of each of its worst texts: four times the text may take four times as long, and a quadratic
reader takes sixteen times. The time is that of this thread alone, the best of several rounds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_bridge import Bridge
from sse_bridge.errors import SSEBridgeError
from sse_bridge.events import _known_good, check_channel, check_type
from sse_bridge.filters import ByType
from sse_bridge.follow import subscribe_request
from sse_bridge.records.codec import positions_for
from sse_bridge.redaction import RedactTokens, redact
from sse_bridge.streams import MAX_ORIGIN_CHARACTERS, Cors, StreamRequest, check_origin, lower_headers
from sse_bridge.streams.http import request
from sse_bridge.streams.http.compression import choose
from sse_bridge.streams.http.request import MAX_QUERY_CHARACTERS, query_pairs
from sse_bridge.streams.websockets.messages import parse_command
from sse_bridge.tokens import token_grant
from sse_bridge.wire import CHANNEL_FORMATS, negotiate
from sse_bridge.wire.base import line_value
from sse_bridge.wire.negotiation import MAX_ACCEPT_CHARACTERS, _best, whole_members

SIZES = (16_384, 65_536)
ROUNDS = 25  # at most: a reader whose work is quadratic fails every one of them
MOST = 9.0  # between four and sixteen
NOTHING = 0.004  # seconds for 64 kB, in which no quadratic reader could look at it: its steps are four thousand million

# What makes expressions and parsers begin again, count, nest, decode, or make many small things.
UNITS = (
    "eyJ", "eyJa.", "eyJa%2e", "eyJ-", "token=", "&token=", "-token=", "a.", "%2e", "%2E.", "-", ".", "..",
    "a,", "a/b,", ",", ", ", "*/*,", ";", "; ", ";q=", "a;q=0.", ";;q=1", "gzip;q=1", "a \t", " ", "\t",
    "&", "=", "a=", "&a", "a=b&", "channel=a&", "%", "%%", "%z", "%80", "+", "#",
    "a", "0", "9", "1.", "a-b-1-c.", "aaaaaaaa-b-1-c.", "-e.", "/", ":", "@", "//", "[", "]", "[[", "{", '"', "\\", "\\u0000",
    '{"a":', "\0", "\n", "\r\n", "\xa8", "\xb8", "é", "\u0327\u0301", "😀", "\ud800", "http://", "https://a:",
)  # fmt: skip

HOST = Bridge("memory://", token_secret="s" * 32, token_in_url=True, cors_origins="https://a.example", max_channels=80)


def one_log_line(text: str) -> None:
    shown = type("Connection", (), {"__repr__": lambda self: text})()
    for message, arguments in ((text, ()), ("%s %s", (text, shown)), ("%(r)s", ({"r": text},))):
        record = logging.LogRecord("uvicorn.access", logging.INFO, __file__, 1, message, arguments, None)
        RedactTokens().filter(record)


def a_wish(text: str) -> None:
    request = StreamRequest.from_http({}, f"channels={text}")
    HOST.subscribe_request(request.channels)


READERS: dict[str, Callable[[str], object]] = {
    "log lines": one_log_line,
    "Accept": lambda text: negotiate(CHANNEL_FORMATS, accept=text),
    "?format=": lambda text: negotiate(CHANNEL_FORMATS, name=text),
    "Accept-Encoding": lambda text: choose(("gzip", "br"), text),
    "Last-Event-ID": lambda text: positions_for(["a"], text),
    "headers of a stream": lambda text: StreamRequest.from_http({"last-event-id": text, "origin": text}),
    "the query": query_pairs,
    "a query of a stream": lambda text: StreamRequest.from_http({}, f"after={text}&last={text}&format={text}"),
    "the names in a query": a_wish,
    "repeated headers": lambda text: lower_headers([(b"a", text[:1].encode("latin-1", "replace"))] * (len(text) // 4)),
    "different headers": lambda text: lower_headers([(b"%d" % n, b"") for n in range(len(text) // 6)]),
    "a bearer token": lambda text: token_grant(HOST, {"authorization": f"Bearer {text}"}, "", ["a"]),
    "cookies": lambda text: token_grant(HOST, {"cookie": text}, "", ["a"]),
    "the token's cookie": lambda text: token_grant(HOST, {"cookie": f"sse_bridge_token={text}"}, "", ["a"]),
    "a token in the address": lambda text: token_grant(HOST, {}, f"token={text}", ["a"]),
    "Origin": lambda text: check_origin({"origin": text, "host": "a.example"}, ["https://a.example"]),
    "Origin's host": lambda text: check_origin({"origin": f"https://{text}", "host": text}),
    "Origin for CORS": lambda text: Cors.of(HOST.settings).preflight(
        "OPTIONS", {"origin": text, "access-control-request-method": text}
    ),
    "a WebSocket's message": parse_command,
    "a message of one text": lambda text: parse_command(json.dumps({"type": text, "a": text})),
    "a message's names": lambda text: parse_command(json.dumps({"type": "subscribe", "channels": text.split(text[-1:])})),
    "a message's id": lambda text: parse_command(json.dumps({"type": "subscribe", "channels": ["a"], "after": text})),
    "a channel's name": check_channel,
    "a type": check_type,
    "the rule of a filter": lambda text: ByType(f"{text}*"),
    "a line of a frame": lambda text: line_value("id", text),
}  # fmt: skip


def seconds(reader: Callable[[str], object], text: str) -> float:
    """Of this thread's own time, whatever else the machine does."""
    began = time.thread_time()
    # InvalidInput and the rest of ours are answers, and RecursionError and ValueError are none: `parse_command` has them
    with contextlib.suppress(SSEBridgeError):
        reader(text)
    return time.thread_time() - began


def growth(reader: Callable[[str], object], unit: str, most: float = MOST, rounds: int = ROUNDS) -> tuple[float, float]:
    """How much longer four times the text takes, and the seconds that it takes; the best of several rounds."""
    texts = [unit * (size // len(unit)) for size in SIZES]
    best = [math.inf, math.inf]
    for _ in range(rounds):
        best = [min(known, seconds(reader, text)) for known, text in zip(best, texts, strict=True)]
        if best[1] < NOTHING or best[1] < most * best[0]:
            break
    return best[1] / max(best[0], 1e-9), best[1]


@pytest.mark.parametrize("name", READERS)
def test_time_grows_with_the_length_and_no_faster(name: str) -> None:
    for unit in UNITS:
        ratio, taken = growth(READERS[name], unit)
        assert taken < NOTHING or ratio < MOST, (
            f"{name} of {unit!r}: {taken:.3f} s for 64 kB, {ratio:.1f} times 16 kB's"
        )


def test_the_measure_finds_a_quadratic_reader() -> None:
    ratio, taken = growth(
        lambda text: [text.count("b", start) for start in range(0, len(text), 16)], "a", most=0, rounds=10
    )
    assert (taken > NOTHING, ratio > MOST) == (True, True), f"{taken:.3f} s, {ratio:.1f} times"


def test_one_request_line_holds_nobody_up() -> None:
    assert min(seconds(one_log_line, "GET /?x=" + "eyJ" * 20_000) for _ in range(3)) < 0.1  # it was 3.6 s


def test_what_is_remembered_of_requests_is_bounded() -> None:
    long = "a" * 65_536
    before = _known_good.cache_info().currsize
    for check in (check_channel, check_type):
        with pytest.raises(SSEBridgeError, match="must match"):
            check(long)
    assert _known_good.cache_info().currsize == before
    _best.cache_clear()
    members = ",".join(["text/event-stream;q=0.5", *(f"a/{n}" for n in range(10_000))])
    assert negotiate(CHANNEL_FORMATS, accept=members).name == "sse"
    assert len(whole_members(members)) <= MAX_ACCEPT_CHARACTERS
    _best(CHANNEL_FORMATS, members[: MAX_ACCEPT_CHARACTERS + 1])
    assert _best.cache_info().misses == 1  # the cut header is what it knew
    assert choose(("gzip",), "gzip," + "x," * 65_536) == "gzip"


@pytest.mark.parametrize(
    ("cache", "read"),
    [
        (request._interned, lambda text: StreamRequest.from_http({"last-event-id": text})),
        (request._interned, lambda text: StreamRequest.from_http({"accept": text})),
        (request._interned, lambda text: StreamRequest.from_http({}, f"x={text}")),
        (subscribe_request._interned, lambda text: HOST.subscribe_request("news", after=text)),
        (subscribe_request._interned, lambda text: HOST.subscribe_request([f"c{n}" for n in range(20)], after=text)),
    ],
)
def test_no_long_request_is_remembered(cache: Any, read: Callable[[str], Any]) -> None:
    cache.cache_clear()
    read("a" * 1100)
    assert cache.cache_info().currsize == 0
    for number in range(2 * cache.cache_info().maxsize):
        read(f"a{number}")
    assert cache.cache_info().currsize == cache.cache_info().maxsize <= 256


def test_repeated_headers_are_joined_in_their_order() -> None:
    raw = [(b"A", b"1"), (b"b", b""), (b"a", b"1"), (b"B", b""), (b"c", b"x"), (b"a", b"2")]
    assert lower_headers(raw) == {"a": "1, 1, 2", "b": ", ", "c": "x"}


def test_what_is_longer_than_anyone_needs_is_refused_by_name() -> None:
    with pytest.raises(SSEBridgeError, match=f"at most {MAX_QUERY_CHARACTERS} characters"):
        query_pairs("a" * (MAX_QUERY_CHARACTERS + 1))
    with pytest.raises(SSEBridgeError, match="may not connect"):
        check_origin({"origin": "https://" + "a" * MAX_ORIGIN_CHARACTERS, "host": "a" * MAX_ORIGIN_CHARACTERS})
    with pytest.raises(SSEBridgeError, match="at most 400 digits"):
        parse_command('{"type": "x", "n": ' + "9" * 401 + "}")
    assert parse_command('{"type": "x", "n": -12}') == parse_command('{"type": "x", "n":   -12}')


# The form by which tokens were found before; right, and quadratic.
FORM = re.compile(r"eyJ[\w-]+(?:\.|%2[eE])[\w-]+(?:\.|%2[eE])[\w-]*|(?<![\w-])token=[^&\s\"'#;]+")


PIECES = ["eyJ", "e", "yJ", "a", "-", ".", "%2e", "%2E", "%2", "token=", "&", " ", "é", '"']


@given(st.lists(st.sampled_from(PIECES), max_size=24))
@settings(max_examples=1000)
def test_the_same_tokens_are_found(parts: list[str]) -> None:
    text = "".join(parts)
    shown = FORM.sub(lambda match: "token=[redacted]" if match[0].startswith("token=") else "[redacted]", text)
    assert redact(text) == shown
