"""A stream whose format cannot say that it is incomplete is cut, on every server and without an error in its log."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.streams import IncompleteStream, StreamRequest, stream_channels, stream_source
from sse_bridge.streams.writers.cutting import cut
from tests.support.http_stream import HTTPStream
from tests.support.servers import Server, serve

ASGI = ["uvicorn", "hypercorn", "daphne", "granian"]
WSGI = ["gunicorn-gthread", "gunicorn-gevent"]


@pytest.fixture(scope="module", params=[*ASGI, *WSGI])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    app = "wsgi" if request.param in WSGI else "asgi"
    with serve(request.param, f"tests.apps.strict_site:{app}") as running:
        yield running


def body(server: Server, path: str) -> tuple[bytes, str]:
    with HTTPStream(f"{server.url}{path}", {"Accept": "application/json"}) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        assert "accept" not in stream.headers.get("vary", "").lower().split(", ")
        parts = b""
        while not stream.ended:
            parts += stream.read(60) or b""
        return parts, stream.ended


def messages(parts: bytes) -> list[bytes]:
    assert b"event:" not in parts
    assert b"stream." not in parts
    return re.findall(rb"^data: (.*)$", parts, re.MULTILINE)


@pytest.mark.parametrize("kind", ["source", "channel"])
def test_an_early_end_is_a_cut_and_a_due_one_is_not(server: Server, kind: str) -> None:
    before = len(server.output)
    ways = ["", "/starlette", "/base"] if server.kind == "uvicorn" else [""]
    for way in ways:
        parts, ended = body(server, f"{way}/{kind}/whole")
        assert (messages(parts), ended) == ([b'{"n":0}'], "complete"), server.output
        parts, ended = body(server, f"{way}/{kind}/early")
        assert ended == "cut", server.output
        assert set(messages(parts)) == {b'{"n":0}'}
        assert parts.startswith(b":\n")
    seen = server.output[before:]
    assert not re.search("error|exception|traceback|without completing", seen, re.IGNORECASE), seen


class Cycle:
    """As uvicorn's."""

    def __init__(self, takes: bool = True) -> None:
        self.disconnected = False
        self.done: list[str] = []
        self.transport = self
        self._takes = takes

    def close(self) -> None:
        self.done.append("close")
        self.disconnected = self._takes

    def abort(self) -> None:
        self.done.append("abort")
        self.disconnected = True

    async def send(self, message: Any) -> None: ...


def wrapped(send: Any) -> Any:
    async def sender(message: Any) -> None:
        await send(message)

    return sender


async def test_the_server_s_send_is_found_below_its_wrappers() -> None:
    class Responder:
        def __init__(self, send: Any) -> None:
            self.send = send

        async def send_with_more(self, message: Any) -> None: ...

    async def cors(message: Any, send: Any) -> None: ...

    cycle = Cycle()
    inner: Any = functools.partial(cors, send=wrapped(Responder(wrapped(cycle.send)).send_with_more))
    assert await cut(inner) is True
    assert cycle.done == ["close"]


async def test_one_who_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sse_bridge.streams.writers.cutting.LAST_WRITE_SECONDS", 0.01)
    cycle = Cycle(takes=False)
    assert await cut(cycle.send) is True
    assert cycle.done == ["close", "abort"]


async def test_it_is_found_by_receive_too() -> None:
    cycle = Cycle()

    async def opaque(message: Any) -> None: ...

    assert await cut(opaque, wrapped(cycle.send)) is True
    assert cycle.done == ["close"]


async def test_daphne_s_request_is_closed() -> None:
    class Request:
        lost = 0

        def loseConnection(self) -> None:  # Twisted's name
            self.lost += 1

    async def handle_reply(protocol: Any, message: Any) -> None: ...

    request = Request()
    assert await cut(functools.partial(handle_reply, request)) is True
    assert request.lost == 1


async def test_a_wrapper_that_cannot_be_seen_through() -> None:
    async def opaque(message: Any) -> None: ...

    assert await cut(opaque) is False


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("kind", ["source", "channel"])
async def test_a_drained_body_raises_after_what_there_was(kind: str, colour: str) -> None:
    async with Bridge("memory://") as bridge:
        await bridge.apublish("a", {"n": 0}, type="a")
        request = StreamRequest()

        if kind == "channel":
            response = stream_channels(bridge, "a", request, start="earliest", format="sse-data", type_in_data=True)
        else:
            source = itertools.repeat({"event": "a", "data": {"n": 0}})
            response = stream_source(bridge, source, request, format="sse-data", type_in_data=True)
        assert response.bodies is not None
        seen = b""
        with pytest.raises(IncompleteStream, match="drain"):
            if colour == "async":
                async for piece in response.bodies.async_body():
                    seen += piece
                    if b"data:" in seen:
                        bridge.streams.begin_drain(0)
            else:
                for piece in response.bodies.sync_body():
                    seen += piece
                    if b"data:" in seen:
                        bridge.streams.begin_drain(0)
        assert messages(seen)[0] == b'{"type":"a","n":0}'
