"""Views that make more than one stream, or return another answer: the returned one is served, the rest is closed."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from sse_bridge import Bridge
from sse_bridge.streams import (
    HANDOFF_HEADER,
    StreamRequest,
    call_async,
    current_handoff,
    scope_request,
    stream_channels,
    stream_source,
)
from sse_bridge_asgi import SSEBridgeMiddleware, flask_asgi
from tests.asgi.conftest import nothing_left
from tests.asgi.strict_server import Http
from tests.support.wait import await_for

HEADER = HANDOFF_HEADER.lower().encode()
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class Items:
    """An iterator that holds something until it is closed."""

    def __init__(self, *items: Any) -> None:
        self._items = iter(items)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._items)

    def close(self) -> None:
        self.closed += 1


class AsyncItems:
    """Its twin."""

    def __init__(self, *items: Any) -> None:
        self._items = iter(items)
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._items)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self.closed += 1


def offer(bridge: Bridge, source: Any) -> str:
    handoff = current_handoff()
    assert handoff is not None
    nonce = handoff.offer(stream_source(bridge, source, StreamRequest()))
    assert nonce
    return nonce


async def answer(
    send: Any, nonce: str = "", *, status: int = 200, body: bytes | None = None, headers: Any = (), pieces: int = 1
) -> None:
    head = [*([(HEADER, nonce.encode())] if nonce else []), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    body = nonce.encode() if body is None else body
    step = max(1, len(body) // pieces)
    for start in range(0, len(body), step):
        await send({"type": "http.response.body", "body": body[start : start + step], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def behind(app: Any, bridge: Bridge) -> SSEBridgeMiddleware:
    return SSEBridgeMiddleware(app, bridge, path=None)


@pytest.mark.parametrize("returned", [0, 1, 2])
@pytest.mark.parametrize("kind", [Items, AsyncItems])
async def test_the_returned_stream_is_served_and_the_others_are_closed(
    bridge: Bridge, kind: Any, returned: int
) -> None:
    sources = [kind(f"source {n}") for n in range(3)]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonces = [await call_async(offer, bridge, source) for source in sources]
        await answer(send, nonces[returned])

    async with Http(behind(app, bridge)) as client:
        body = await client.read_all()
    assert [f"source {n}".encode() in body for n in range(3)] == [n == returned for n in range(3)]
    await await_for(lambda: [source.closed for source in sources] == [1, 1, 1], what="every source closed once")
    await nothing_left(bridge)


async def test_of_two_streams_of_channels_the_returned_one_is_served(bridge: Bridge) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        handoff = current_handoff()
        assert handoff is not None
        streams = [
            stream_channels(bridge, name, scope_request(scope), start="earliest") for name in ("news", "salaries")
        ]
        nonces = [handoff.offer(stream) for stream in streams]
        await answer(send, nonces[0] or "")

    await bridge.apublish("news", "for everybody")
    await bridge.apublish("salaries", "secret")
    async with Http(behind(app, bridge)) as client:
        assert b"secret" not in await client.read_until(b"for everybody")
    await nothing_left(bridge)


async def test_what_was_offered_is_closed_when_the_view_fails(bridge: Bridge) -> None:
    first, second, third = Items(1), AsyncItems(1), Items(1)

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        offer(bridge, first)
        raise RuntimeError("behind the offer")

    with pytest.raises(RuntimeError, match="behind the offer"):
        async with Http(behind(fails, bridge)) as client:
            await client.ended()
    assert first.closed == 1

    async def error_page(scope: Any, receive: Any, send: Any) -> None:
        nonce = offer(bridge, second)
        offer(bridge, third)
        await answer(send, nonce, status=500, body=b"sorry")

    async with Http(behind(error_page, bridge)) as client:
        assert await client.read_all() == b"sorry"
        assert HEADER not in dict(client.raw_headers)
    await await_for(lambda: second.closed == third.closed == 1)


async def test_what_was_taken_is_closed_when_the_inner_app_fails_behind_its_answer(bridge: Bridge) -> None:
    source = Items(1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, offer(bridge, source))
        raise RuntimeError("behind the answer")

    with pytest.raises(RuntimeError, match="behind the answer"):
        async with Http(behind(app, bridge)) as client:
            await client.ended()
    assert source.closed == 1
    assert client.status is None, "nothing was sent, so the server can answer 500"


async def test_what_was_taken_is_closed_when_the_client_left_meanwhile(bridge: Bridge) -> None:
    source = Items(1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, offer(bridge, source))
        while (await receive())["type"] != "http.disconnect":
            pass

    async with Http(behind(app, bridge)) as client:
        client.leave()
        await client.ended()
    assert source.closed == 1


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("body", [b"closed for maintenance", b""], ids=["another body", "none"])
async def test_a_replaced_body_is_sent_as_it_is(bridge: Bridge, body: bytes, pieces: int) -> None:
    source = Items("secret")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        # middleware that changes what a view's answer holds and keeps its headers
        await answer(send, offer(bridge, source), body=body, headers=[(b"x-view", b"1")], pieces=pieces)

    async with Http(behind(app, bridge)) as client:
        assert await client.read_all() == body
        assert client.raw_headers == [(b"x-view", b"1")]
    assert source.closed == 1


async def test_a_body_that_begins_like_the_nonce_is_another_one(bridge: Bridge) -> None:
    sources = [Items("secret") for _ in range(2)]
    cut = iter([slice(0, 5), slice(0, None)])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonce = offer(bridge, sources.pop())
        part = next(cut)
        await answer(send, nonce, body=nonce.encode()[part] + (b"" if part.stop else b"!"))

    for length in (5, 23):
        async with Http(behind(app, bridge)) as client:
            assert len(await client.read_all()) == length


async def test_the_nonce_may_come_in_pieces_and_encoded(bridge: Bridge) -> None:
    async def pieces(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, offer(bridge, ["an item"]), pieces=5)

    async def encoded(scope: Any, receive: Any, send: Any) -> None:
        # a compressor between the middleware and the view; what it makes of the nonce nobody can compare
        await answer(send, offer(bridge, ["an item"]), body=b"\x1f\x8b", headers=[(b"content-encoding", b"gzip")])

    for app in (pieces, encoded):
        async with Http(behind(app, bridge)) as client:
            assert b"an item" in await client.read_all()
            assert client.headers["content-encoding"] == "identity"


async def test_an_answer_of_another_request_stands_for_nothing(bridge: Bridge) -> None:
    kept: list[str] = []
    sources = [Items("first"), Items("second")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        # as a cache does that keeps a view's answer, headers and all
        kept.append(offer(bridge, sources[len(kept)]))
        await answer(send, kept[0])

    async with Http(behind(app, bridge)) as client:
        assert b"first" in await client.read_all()
    async with Http(behind(app, bridge)) as client:
        assert await client.read_all() == kept[0].encode()
        assert HEADER not in dict(client.raw_headers)
    await await_for(lambda: [source.closed for source in sources] == [1, 1])  # the served one: on its own thread


async def test_a_head_opens_nothing_and_closes_the_source(bridge: Bridge) -> None:
    served, other = Items("an item"), AsyncItems("another")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonce = offer(bridge, served)
        offer(bridge, other)
        await answer(send, nonce, body=b"")

    async with Http(behind(app, bridge), method="HEAD") as client:
        assert await client.read_all() == b""
        assert client.headers["content-type"] == "text/event-stream"
    await await_for(lambda: served.closed == other.closed == 1)


async def test_nested_middleware_each_with_offers_of_its_own(bridge: Bridge) -> None:
    outer_source, inner_source = Items("outer"), Items("inner")

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, offer(bridge, inner_source))

    async def between(scope: Any, receive: Any, send: Any) -> None:
        nonce = offer(bridge, outer_source)
        if scope["path"] == "/outer":
            await answer(send, nonce)
        else:
            await behind(inner, bridge)(scope, receive, send)

    async with Http(behind(between, bridge), "/") as client:
        assert b"inner" in await client.read_all()
    await await_for(lambda: (outer_source.closed, inner_source.closed) == (1, 1))  # the served one: on its own thread
    async with Http(behind(between, bridge), "/outer") as client:
        assert b"inner" not in await client.read_all()
    assert current_handoff() is None


async def test_offers_of_many_threads_and_late_ones(bridge: Bridge) -> None:
    sources: list[Items] = []
    late: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        handoff = current_handoff()
        assert handoff is not None

        def one() -> str | None:
            source = Items("an item")
            sources.append(source)
            return handoff.offer(stream_source(bridge, source, StreamRequest()))

        nonces = await asyncio.gather(*(asyncio.to_thread(one) for _ in range(40)))
        assert len(set(nonces)) == 40
        await answer(send, nonces[17] or "")
        late.append(one())

    async with Http(behind(app, bridge)) as client:
        assert (await client.read_all()).count(b"an item") == 1
    assert late == [None], "the view has to stream that one by itself"
    await await_for(
        lambda: [source.closed for source in sources] == [1] * 40 + [0]
    )  # the one served: on its own thread


# the view's context


async def sees() -> list[Any]:
    return [who.get(), await sync_to_async(who.get)(), await sync_to_async(threading.get_ident)()]


async def async_source() -> AsyncIterator[Any]:
    for _ in range(2):
        yield {"event": "seen", "data": await sees()}


def sync_source() -> Iterator[Any]:
    yield {"event": "seen", "data": [who.get(), who.get(), 0]}


def in_a_view(bridge: Bridge, source: Callable[[], Any]) -> str:
    who.set("ann")
    return offer(bridge, source())


@pytest.mark.parametrize("source", [async_source, sync_source])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_source_runs_in_its_view_s_context(bridge: Bridge, source: Any, colour: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        in_thread = colour == "sync"
        nonce = await call_async(in_a_view, bridge, source) if in_thread else in_a_view(bridge, source)
        who.set("ann, behind the view")  # what the middleware around it does with the answer counts as well
        await answer(send, nonce)
        who.set("who came later")

    async with Http(behind(app, bridge)) as client:
        body = await client.read_all()
    assert b"stream.end" in body
    assert body.count(b'["ann, behind the view","ann, behind the view",') == body.count(b"event: seen") > 0
    assert who.get() == "nobody"


async def test_a_source_of_a_wsgi_view_runs_in_its_context(bridge: Bridge) -> None:
    def wsgi(environ: Any, start_response: Any) -> Any:
        nonce = in_a_view(bridge, async_source)
        start_response("200 OK", [(HANDOFF_HEADER, nonce)])
        return [nonce.encode()]

    async with Http(flask_asgi(wsgi, bridge)) as client:
        assert (await client.read_all()).count(b'["ann","ann",') == 2


async def test_the_threads_of_a_source_end_with_it(bridge: Bridge) -> None:
    used: set[threading.Thread] = set()  # no numbers, since a new thread may get that of one that has ended

    async def source() -> AsyncIterator[Any]:
        for _ in range(3):
            yield await sync_to_async(threading.get_ident)()
            used.add(await sync_to_async(threading.current_thread)())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, await call_async(in_a_view, bridge, source))

    async with Http(behind(app, bridge)) as one, Http(behind(app, bridge)) as other:
        await one.read_all()
        await other.read_all()
    assert len(used) == 2, "each stream's sync code has one thread, and not that of others"
    gc.collect()
    await await_for(lambda: not any(thread.is_alive() for thread in used), what="the threads to end")
