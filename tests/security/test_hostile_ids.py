"""A Last-Event-ID is the client's to write: whatever it is becomes 400 or a gap, with bounded work, and is never echoed."""

from __future__ import annotations

import contextlib
import re
import socket
import time
import tracemalloc
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_bridge import Bridge
from sse_bridge.records.codec import MAX_ID_BYTES, parse_id
from sse_bridge.streams import StreamRequest, stream_channels
from tests.security.conftest import Site
from tests.support.servers import serve
from tests.support.sse_client import SSEClient
from tests.support.sse_parser import parse

CLOSED = 0  # the connection was closed without an answer
MARK = "EvilMark"  # what no answer may hold
ID = "abcdefgh-Epoch123-{}-Check123"
HOSTILE = {
    "a megabyte": MARK * 131_072,
    "near the servers' own limit": MARK * 7_000,
    "invalid UTF-8": b"\xff\xfe\xc3\x28" + MARK.encode(),
    "UTF-8 beyond ASCII": (MARK + "é\u2028\U0001f600").encode(),
    "negative": ID.format("-1") + MARK,
    "negative number": f"-1{MARK}",
    "huge": ID.format("9" * 400) + MARK,
    "NaN": f"NaN{MARK}",
    "leading zeros": ID.format("007") + MARK,
    "other digits": (ID.format("\u0661\u0662") + MARK).encode(),
    "parts without end": ".".join([ID.format(1)] * 80) + MARK,
    "dots": "." * 4000 + MARK,
    "JSON": '{"id":"' + MARK + '"}',
    "markup": f"<script>{MARK}</script>",
    "a format": f"%s%n{{0}}{MARK}",
    "a Lua long bracket": f"]]..redis.call('FLUSHALL')..[[{MARK}",
    "a pattern": f"*{MARK}?[a-z]",
}

# What a server says by itself to what is longer than it reads; everything else comes to us and is a 200 with a gap.
TOO_LONG_HEADER: dict[str, dict[str, int]] = {
    # by h11; httptools, which uvicorn takes where it is (make bench installs it), reads headers of any length
    "uvicorn": {} if find_spec("httptools") else {"a megabyte": 400},
    "gunicorn-gthread": {"a megabyte": 431, "near the servers' own limit": 431},
}
# gunicorn 22 says 400 of a request line, later ones 414
TOO_LONG_LINE: dict[str, dict[str, tuple[int, ...]]] = {
    "uvicorn": {},
    "gunicorn-gthread": {"near the servers' own limit": (400, 414)},
}
# Servers that the folder's site does not run: a megabyte, and 56,000 bytes.
OTHERS = {"hypercorn": (431, 200), "daphne": (CLOSED, CLOSED), "granian": (431, 200)}


def ask(url: str, *lines: bytes) -> tuple[int, bytes]:
    """A raw request, for http clients refuse to send some of it; status, and everything up to the first two frames."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}"
    head = [f"GET {target} HTTP/1.1".encode(), f"Host: {parts.netloc}".encode(), b"Accept: text/event-stream", *lines]
    answer = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it may answer before it has read everything
            client.sendall(b"\r\n".join(head) + b"\r\n\r\n")
        try:
            deadline = time.monotonic() + 15
            while more := client.recv(65536):
                assert time.monotonic() < deadline, answer[-800:]
                answer += more
                status = int(answer.split(b" ", 2)[1])
                if status != 200 and b"\r\n\r\n" in answer:
                    break
                if b'data: "end"' in answer:
                    break
        except (ConnectionResetError, BrokenPipeError):
            pass  # behind its answer, if it gave one
    return (int(answer.split(b" ", 2)[1]) if answer else CLOSED), answer


def told_or_refused(answer: tuple[int, bytes]) -> None:
    status, text = answer
    assert status == 200 or 400 <= status < 500, (status, text[:500])
    assert MARK.encode() not in text
    if status == 200:
        assert b"stream.gap" in text, text[:800]
        assert re.search(rb'"reason": ?"invalid"', text), text[:800]


@pytest.mark.parametrize("name", HOSTILE)
def test_in_the_header(site: Site, way: Any, channel: str, name: str) -> None:
    site.bridge.publish(channel, "before")
    site.bridge.publish(channel, "end", type="last")
    value = HOSTILE[name]
    raw = value if isinstance(value, bytes) else value.encode()
    url = site.url(way, f"open?channel={channel}&last=1")
    answer = ask(url, b"Last-Event-ID: " + raw)
    told_or_refused(answer)
    assert answer[0] == TOO_LONG_HEADER[way[0]].get(name, 200)
    assert answer[0] == 200 or b"problem+json" not in answer[1], "the server refuses it, and the app is never asked"


@pytest.mark.parametrize("kind", OTHERS)
def test_a_header_that_is_too_long_under_the_other_servers(site: Site, channel: str, kind: str) -> None:
    site.bridge.publish(channel, "end", type="last")
    with serve(kind, "tests.security.site:asgi", env=site.env, seconds=60) as server:
        url = f"{server.url}/asgi/open?channel={channel}&last=1"
        for name, expected in zip(("a megabyte", "near the servers' own limit"), OTHERS[kind], strict=True):
            status, text = ask(url, b"Last-Event-ID: " + str(HOSTILE[name]).encode())
            assert status == expected, text[:500]
            assert text == b"" if status == CLOSED else MARK.encode() not in text
            assert status != 200 or re.search(rb'"reason": ?"invalid"', text), text[:800]
            assert b"problem+json" not in text
        assert ask(url)[0] == 200  # it serves on
        assert "Traceback" not in server.output


IN_THE_QUERY = {
    **{name: value for name, value in HOSTILE.items() if name != "a megabyte"},
    "a line break": f"1\r\ndata: {MARK}\r\n\r\n",
    "a frame": f"1\n\nevent: open\ndata: {MARK}\n\n",
    "a header": f"1\r\nSet-Cookie: {MARK}=1\r\n",
    "NUL": f"1\0{MARK}",
    "escapes": f"\x1b[2J{MARK}",
}


@pytest.mark.parametrize("name", IN_THE_QUERY)
def test_in_the_query(site: Site, way: Any, channel: str, name: str) -> None:
    site.bridge.publish(channel, "end", type="last")
    value = quote(IN_THE_QUERY[name], safe="")
    answer = ask(site.url(way, f"open?channel={channel}&last=1&after={value}"))
    told_or_refused(answer)
    assert answer[0] in TOO_LONG_LINE[way[0]].get(name, (200,))


def test_headers_that_come_twice(site: Site, way: Any, channel: str) -> None:
    first = site.bridge.publish(channel, "first")
    site.bridge.publish(channel, "end", type="last")
    url = site.url(way, f"open?channel={channel}")
    mine = f"Last-Event-ID: {first}".encode()
    for lines in ((mine, b"Last-Event-ID: " + MARK.encode()), (b"Last-Event-ID: " + MARK.encode(), mine)):
        status, text = ask(f"{url}&last=1", *lines)
        assert status == 200
        assert MARK.encode() not in text
        # a server may join them, which is no id, or keep one of them: then it counts as if it had come alone
        assert b"stream.gap" in text or b'data: "first"' not in text


def test_of_another_channel(site: Site, way: Any, channel: str) -> None:
    foreign = site.bridge.publish(f"{channel}.other", "foreign")
    site.bridge.publish(channel, "end", type="last")
    told_or_refused(ask(site.url(way, f"open?channel={channel}&last=1"), f"Last-Event-ID: {foreign}".encode()))


def test_a_position_that_was_never_given(site: Site, way: Any, channel: str) -> None:
    head = site.bridge.publish(channel, "end", type="last")
    assert head is not None
    for forged in (f"{head.key}-{head.epoch}-{10**15}-{head.check}", f"{head.key}-{head.epoch}-0-{head.check}"):
        with SSEClient(site.url(way, f"open?channel={channel}"), last_event_id=forged) as client:
            opened, second = client.take(2)
            assert opened.event == "stream.open"
            assert second.event in ("stream.gap", "last")


# -- without a server: everything at once


@settings(max_examples=50)
@given(st.text(max_size=200) | st.from_regex(r"([a-z2-7]{8}-[A-Za-z0-9]{1,16}-[0-9]{1,20}-[A-Za-z0-9]{1,16}\.?){0,3}"))
def test_any_text_is_an_id_or_none(text: str) -> None:
    found = parse_id(text)
    if found is not None:
        assert ".".join(map(str, found.values())) == text
        assert all(0 <= position.offset < 10**16 for position in found.values())


@given(
    st.dictionaries(
        st.sampled_from(["last-event-id", "accept", "accept-encoding", "origin", "cookie", "authorization"]),
        st.text(st.characters(exclude_characters="\r\n\0"), max_size=60),
    ),
    st.lists(
        st.tuples(st.sampled_from(["after", "last", "format", "channel", "token"]), st.text(max_size=20)), max_size=5
    ),
)
def test_any_request_is_answered_or_refused_by_name(headers: dict[str, str], pairs: list[tuple[str, str]]) -> None:
    from sse_bridge.errors import InvalidInput, NotAcceptable

    with Bridge("memory://", cors_origins="https://a.example") as bridge:
        try:
            asked = StreamRequest.from_http(headers, pairs)
            response = stream_channels(bridge, "a", asked)
        except (InvalidInput, NotAcceptable):
            return
    for name, value in response.headers:
        assert f"{name}{value}".isascii()
        assert f"{name}{value}".isprintable()
    assert dict(response.headers).get("Access-Control-Allow-Origin") in (None, "https://a.example")


def test_the_work_for_a_megabyte_is_bounded() -> None:
    text = f"{ID.format(1)}." * 40_000
    with Bridge("memory://") as bridge:
        tracemalloc.start()
        try:
            began = time.thread_time()
            asked = StreamRequest.from_http({"last-event-id": text})
            response = stream_channels(bridge, "a", asked)
            took = time.thread_time() - began
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert response.status == 200
        assert len(asked.last_event_id or "") == MAX_ID_BYTES + 1
        assert took < 0.5
        assert held < 500_000
        body = response.bodies.sync_body() if response.bodies is not None else None
        assert body is not None
        try:
            frames = parse(next(body))
        finally:
            body.close()
        assert frames[0].event == "stream.open"
