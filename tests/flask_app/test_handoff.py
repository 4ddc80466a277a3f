"""Which of its streams a Flask view hands off, and in whose context a source runs then."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from flask import Flask, Response, abort, request

from sse_bridge_asgi import SSEBridgeMiddleware, flask_asgi
from sse_bridge_flask import SSEBridge, event_stream
from tests.asgi.strict_server import Http
from tests.support.wait import await_for

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
opened: list[int] = []


class Held:
    """A source that holds something until it is closed."""

    def __init__(self, item: str) -> None:
        self._items = iter([item])
        opened.append(1)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._items)

    def close(self) -> None:
        opened.pop()


def answer() -> Response:
    first, second = event_stream(Held("the first")), event_stream(Held("the second"))
    which = request.args["which"]
    if which == "error":
        abort(403)
    if which == "page":
        return Response("a page")
    if which == "replaced":
        first.data = b"for maintenance"
    return second if which == "second" else first


def seeing() -> Response:
    who.set("ann")

    async def source() -> AsyncIterator[str]:
        yield f"seen by {who.get()}"

    def sync_source() -> Iterator[str]:
        yield f"seen by {who.get()}"

    return event_stream(source() if "async" in request.args else sync_source())


async def aanswer() -> Response:
    return answer()


async def aseeing() -> Response:
    return seeing()


@pytest.fixture
def app() -> Iterator[SSEBridgeMiddleware]:
    opened.clear()
    flask = Flask(__name__)
    sse = SSEBridge(flask, url="memory://", default=False)
    for view in (answer, aanswer, seeing, aseeing):
        flask.add_url_rule(f"/{view.__name__}", view_func=view)
    with sse.bridge:
        yield flask_asgi(flask, sse.bridge)


@pytest.mark.parametrize("view", ["answer", "aanswer"])
async def test_the_stream_is_served_that_the_view_returns(app: Any, view: str) -> None:
    for which, other in (("first", "second"), ("second", "first")):
        async with Http(app, f"/{view}?which={which}") as client:
            body = await client.read_all()
        assert f"the {which}".encode() in body
        assert f"the {other}".encode() not in body
    await await_for(lambda: not opened, what="both sources closed")


@pytest.mark.parametrize(
    ("which", "status", "body"), [("page", 200, b"a page"), ("replaced", 200, b"for maintenance"), ("error", 403, b"")]
)
async def test_another_answer_passes_and_closes_what_was_made(app: Any, which: str, status: int, body: bytes) -> None:
    async with Http(app, f"/answer?which={which}") as client:
        assert body in await client.read_all()
        assert client.status == status
        assert "x-sse-bridge-handoff" not in client.headers
    await await_for(lambda: not opened, what="both sources closed")


async def test_a_head_opens_nothing_and_closes_what_was_made(app: Any) -> None:
    async with Http(app, "/answer?which=first", method="HEAD") as client:
        assert await client.read_all() == b""
        assert client.headers["content-type"] == "text/event-stream"
    await await_for(lambda: not opened, what="both sources closed")


@pytest.mark.parametrize("view", ["seeing", "aseeing"])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_source_runs_in_its_view_s_context(app: Any, view: str, colour: str) -> None:
    async with Http(app, f"/{view}?{colour}") as client:
        assert b"seen by ann" in await client.read_all()
    assert who.get() == "nobody"
