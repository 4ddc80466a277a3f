"""What an application publishes cannot break out of its place: refused at publish, or whole at every reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sse_bridge import Bridge, Text
from sse_bridge.errors import InvalidChannel, InvalidData, InvalidEventType, InvalidInput
from sse_bridge.wire import SSE_FORMAT, WEBSOCKET_FORMAT
from tests.security.conftest import ASGI, Site
from tests.support.http_stream import HTTPStream
from tests.support.sse_client import SSEClient

CONTROLS = [
    *map(chr, range(0x20)),
    "\x7f",
    *map(chr, range(0x80, 0xA0)),
    "\u2028",
    "\u2029",
    "\ud800",
    "\udfff",
    "\ufeff",
]
# what str.splitlines() splits at and the standard does not, and what parsers look for
LINE_LIKE = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_no_name_holds_a_control_character(control: str) -> None:
    with Bridge("memory://") as bridge:
        for name in (control, f"a{control}", f"a{control}b", f"{control}a"):
            with pytest.raises(InvalidChannel, match="must match") as refused:
                bridge.publish(name, 1)
            # what came is told by its repr, so that no message writes a line of its own
            assert str(refused.value).isprintable()
            with pytest.raises(InvalidEventType, match="must match") as refused:
                bridge.publish("a", 1, type=name)
            assert str(refused.value).isprintable()
            with pytest.raises(InvalidChannel):
                bridge.subscribe(name)
        assert bridge.history("a") == []


@pytest.mark.parametrize("bad", [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\ud800"], ids=ascii)
def test_ids_are_one_line(bad: str) -> None:
    for wire in (SSE_FORMAT, WEBSOCKET_FORMAT):
        with pytest.raises(InvalidInput):
            wire.render("x", b"1", "J", f"7{bad}")


def test_lone_surrogates_in_data_are_refused() -> None:
    with Bridge("memory://") as bridge:
        for data in ("\ud800", {"a": "\udfff"}, ["\ud83d"], Text("a\ud800")):
            with pytest.raises(InvalidData):
                bridge.publish("a", data)
        assert bridge.history("a") == []


@pytest.mark.parametrize("kind", ["json", "text"])
def test_what_looks_like_a_line_end_survives_every_format(site: Site, channel: str, kind: str) -> None:
    value = "".join(f"<{character}>" for character in LINE_LIKE)
    make: Callable[[Any], Any] = Text if kind == "text" else lambda text: {"text": text}
    site.bridge.publish(channel, make(value))
    url = site.url((ASGI, "asgi"), f"open?channel={channel}&after=earliest")
    with SSEClient(url) as client:
        data = client.take(2)[1].data
        assert (data if kind == "text" else json.loads(data)["text"]) == value
    with HTTPStream(f"{url}&format=ndjson") as answer:
        lines = b""
        while lines.count(b"\n") < 2:
            lines += answer.read(60) or b""
        data = json.loads(lines.split(b"\n")[1])["data"]
        assert (data if kind == "text" else data["text"]) == value
    with HTTPStream(f"{url}&format=text") as answer:
        text = answer.read(60) or b""
        assert (text.decode() if kind == "text" else json.loads(text)["text"]) == value
    from websockets.sync.client import connect

    with connect(url.replace("http:", "ws:")) as socket:
        messages = [json.loads(socket.recv(timeout=60)) for _ in range(2)]
        data = messages[1]["data"]
        assert (data if kind == "text" else data["text"]) == value


def test_httpx_sse_reads_the_same(site: Site, channel: str) -> None:
    import httpx
    from httpx_sse import connect_sse

    value = "".join(f"<{character}>" for character in LINE_LIKE)
    site.bridge.publish(channel, Text(value))
    url = site.url((ASGI, "asgi"), f"open?channel={channel}&after=earliest")
    with httpx.Client(timeout=60) as client, connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            if event.event == "message":
                assert event.data == value
                break
