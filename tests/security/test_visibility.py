"""Events that are not for browsers never reach one: every adapter, format and transport, live, replayed, compressed,
and not even as a number in a gap."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from websockets.sync.client import connect

from sse_bridge import Bridge, Visibility
from sse_bridge.streams import StreamRequest, stream_channels
from tests.security.conftest import ASGI, SOURCES, Site
from tests.support.http_stream import HTTPStream
from tests.support.sse_parser import parse

SEEN = {Visibility.USER_FACING, Visibility.LIVE_UI_ONLY}
HIDDEN = {Visibility.MODEL_ONLY, Visibility.INTERNAL_ONLY}


def read_until(answer: HTTPStream, part: bytes) -> bytes:
    """Everything up to `part`, decompressed."""
    gzipped = answer.headers.get("content-encoding") == "gzip"
    decompress = zlib.decompressobj(31).decompress if gzipped else bytes
    body = b""
    for _ in range(200):
        piece = answer.read(60)
        assert piece is not None, f"no {part!r} in time, got {body!r}"
        body += decompress(piece)
        if part in body:
            return body
    raise AssertionError(body)


def publish_all(bridge: Bridge, channel: str, when: str) -> None:
    for visibility in Visibility:
        bridge.publish(channel, f"{when}-{visibility.value}", visibility=visibility, type=visibility.value)
    bridge.publish(channel, f"{when}-done")


def check(body: bytes, when: str, seen: set[Visibility]) -> None:
    for visibility in Visibility:
        came = f"{when}-{visibility.value}".encode() in body
        if visibility is Visibility.LIVE_UI_ONLY and when == "live":
            continue  # delivered directly behind the head or not at all, and this reader may be a moment behind
        assert came is (visibility in seen), (visibility, body)
    for visibility in HIDDEN:
        assert visibility.value.encode() not in body  # nor the type of it


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("format", ["sse", "ndjson", "text"])
def test_over_http(site: Site, way: Any, channel: str, format: str, coding: str) -> None:
    publish_all(site.bridge, channel, "replay")
    url = site.url(way, f"open?channel={channel}&after=earliest&format={format}")
    with HTTPStream(url, {"Accept-Encoding": coding}) as answer:
        assert answer.status == 200
        assert answer.headers.get("content-encoding", "identity") == coding
        body = read_until(answer, b"replay-done")
        check(body, "replay", {Visibility.USER_FACING})  # what is live only is never stored
    # a client that is at the head reads live from here
    with HTTPStream(url, {"Accept-Encoding": coding}) as answer:
        body = b""
        gzipped = zlib.decompressobj(31).decompress if coding == "gzip" else bytes
        while b"replay-done" not in body:
            body += gzipped(answer.read(60) or b"")
        publish_all(site.bridge, channel, "live")
        while b"live-done" not in body:
            body += gzipped(answer.read(60) or b"")
        check(body, "live", SEEN)


@pytest.mark.parametrize("adapter", ["asgi", "channels"])
def test_over_websocket(site: Site, channel: str, adapter: str) -> None:
    publish_all(site.bridge, channel, "replay")
    url = site.url((ASGI, adapter), f"open?channel={channel}&after=earliest").replace("http:", "ws:")
    with connect(url) as socket:

        def until(part: str) -> bytes:
            body = ""
            while part not in body:
                body += str(socket.recv(timeout=60))
            return body.encode()

        check(until("replay-done"), "replay", {Visibility.USER_FACING})
        publish_all(site.bridge, channel, "live")
        check(until("live-done"), "live", SEEN)


@pytest.mark.parametrize("format", ["sse", "ndjson", "text", "json_array"])
@pytest.mark.parametrize("way", SOURCES, ids="-".join)
def test_of_a_source(site: Site, way: Any, format: str) -> None:
    with HTTPStream(site.url(way, f"source?format={format}")) as answer:
        assert answer.status == 200
        body = answer.read_all(60)
    check(body, "item", SEEN)
    if format == "json_array":
        assert isinstance(json.loads(body), list)


@pytest.mark.parametrize("kind", ["trimmed", "invalid", "epoch"])
def test_a_gap_counts_none(kind: str) -> None:
    with Bridge("memory://", replay_size=4) as bridge:
        first = bridge.publish("a", "first")
        assert first is not None
        for number in range(12):
            bridge.publish("a", number, visibility="user_facing" if number % 4 == 0 else "internal_only")
        last = {"trimmed": str(first), "invalid": "nonsense", "epoch": str(first).replace(first.epoch, "OtherEpo")}[
            kind
        ]
        other = stream_channels(bridge, "a", StreamRequest(last_event_id=last)).bodies
        assert other is not None
        late = other.sync_body()
        body = b""
        while b"stream.gap" not in body:
            body += next(late)
        frames = parse(body)
        late.close()
    (gap,) = [json.loads(frame.data) for frame in frames if frame.event == "stream.gap"]
    # offsets 2 to 9 are gone: numbers 0 and 4 were to be seen, six entries were not
    assert gap["missed"] in ((2, None) if kind == "trimmed" else (None,))
    assert "internal" not in str(frames)
