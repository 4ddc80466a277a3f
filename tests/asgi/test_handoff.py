"""The hand-off under the strict server: when the middleware takes over, what it keeps, and what never gets through."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import (
    HANDOFF_HEADER,
    call_async,
    current_handoff,
    scope_request,
    stream_channels,
)
from sse_bridge_asgi import SSEBridgeMiddleware, WsgiApp, flask_asgi
from tests.asgi.conftest import left_behind, nothing_left
from tests.asgi.strict_server import Http, Lifespan, WebSocket
from tests.support.wait import await_for

HEADER = HANDOFF_HEADER.lower().encode()


def view(
    bridge: Bridge,
    *,
    nonce: Callable[[str], str] = str,
    status: int = 200,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    fails: bool = False,
    after: Callable[[Any], Any] | None = None,
) -> Any:
    """An ASGI app as a framework is one: a sync view in a thread offers a stream and answers with the nonce."""

    def sync_view(scope: Any) -> str:
        handoff = current_handoff()
        assert handoff is not None
        offered = handoff.offer(stream_channels(bridge, "a", scope_request(scope)))
        assert offered
        return offered

    async def app(scope: Any, receive: Any, send: Any) -> None:
        own = nonce(await call_async(sync_view, scope)).encode()
        head = [(HEADER, own), (b"content-length", b"%d" % len(own)), *headers]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else own})
        if after is not None:
            await after(receive)
        if fails:
            raise RuntimeError("after the answer")

    return app


async def test_takes_over_with_the_views_headers(bridge: Bridge) -> None:
    headers = (
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"vary", b"Cookie"),
        (b"x-frame-options", b"DENY"),
        (b"content-type", b"text/plain"),
        (b"cache-control", b"public"),
        (b"etag", b'"x"'),
        (b"content-encoding", b"gzip"),
    )
    app = SSEBridgeMiddleware(view(bridge, headers=headers), bridge, path=None)
    async with Http(app) as client:
        await client.read_until(b"stream.open")
        await bridge.apublish("a", 1)
        await client.read_until(b"data: 1\n\n")
        assert [value for name, value in client.raw_headers if name == b"set-cookie"] == [b"a=1", b"b=2"]
        assert client.headers["vary"] == "Accept, Cookie"
        assert client.headers["x-frame-options"] == "DENY"
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-cache, no-transform"
        names = [name for name, _ in client.raw_headers]
        assert not {b"content-length", b"etag", HEADER} & set(names)
        assert client.headers["content-encoding"] == "identity"
        assert len(names) == len(set(names)) + 1, "only set-cookie stands twice"
    await nothing_left(bridge)
    assert current_handoff() is None


async def test_head_and_204(bridge: Bridge) -> None:
    app = SSEBridgeMiddleware(view(bridge), bridge, path=None)
    async with Http(app, method="HEAD") as client:
        assert await client.read_all() == b""
        assert client.headers["content-type"] == "text/event-stream"
    end = str(await bridge.aclose_channel("a"))
    async with Http(app, headers={"Last-Event-ID": end}) as client:
        assert await client.read_all() == b""
        assert client.status == 204
    assert not left_behind(bridge)


@pytest.mark.parametrize(
    "how",
    [{"nonce": str.swapcase}, {"nonce": lambda own: ""}, {"status": 404}, {"status": 201}],
    ids=["another nonce", "no nonce", "404", "201"],
)
async def test_passes_through_without_the_header_when_something_disagrees(bridge: Bridge, how: Any) -> None:
    async with Http(SSEBridgeMiddleware(view(bridge, **how), bridge, path=None)) as client:
        await client.read_all()
        assert client.status == how.get("status", 200)
        assert HEADER.decode() not in client.headers
    assert not bridge.loop_hub().state.feeds


async def test_two_nonces_and_no_offer_pass_through(bridge: Bridge) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        handoff = current_handoff()
        assert handoff is not None
        nonces = ["made-up"]
        if scope["path"] == "/two":
            offered = handoff.offer(stream_channels(bridge, "a", scope_request(scope)))
            assert offered
            nonces = [offered, offered]
        pairs = [(HEADER.title(), nonce.encode()) for nonce in nonces]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        await send({"type": "http.response.body", "body": b"a page"})

    for path in ("/none", "/two"):
        async with Http(SSEBridgeMiddleware(app, bridge, path=None), path) as client:
            assert await client.read_all() == b"a page"
            assert client.raw_headers == []


async def test_the_client_cannot_forge_it(bridge: Bridge) -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        # the worst view: it sends back whatever headers it got
        await send({"type": "http.response.start", "status": 200, "headers": scope["headers"]})
        await send({"type": "http.response.body", "body": b"echo"})

    app = SSEBridgeMiddleware(echo, bridge, path=None)
    async with Http(app, headers={HANDOFF_HEADER: "guess"}) as client:
        assert await client.read_all() == b"echo"
        assert HEADER.decode() not in client.headers


async def test_an_inner_error_after_the_answer_is_the_servers_500(bridge: Bridge) -> None:
    with pytest.raises(RuntimeError, match="after the answer"):
        async with Http(SSEBridgeMiddleware(view(bridge, fails=True), bridge, path=None)) as client:
            await client.ended()
    assert client.status is None, "nothing was sent, so the server can answer 500"
    assert not bridge.loop_hub().state.feeds


async def test_streams_after_the_inner_app_returned(bridge: Bridge) -> None:
    returned = asyncio.Event()
    inner = view(bridge, after=lambda receive: returned.wait())
    async with Http(SSEBridgeMiddleware(inner, bridge, path=None)) as client:
        await asyncio.sleep(0)
        assert client.status is None
        returned.set()
        await client.read_until(b"stream.open")


async def test_a_disconnect_that_the_inner_app_took_is_remembered(bridge: Bridge) -> None:
    async def takes_it(receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with Http(SSEBridgeMiddleware(view(bridge, after=takes_it), bridge, path=None)) as client:
        client.leave()
        await client.ended()
        await nothing_left(bridge)


@pytest.mark.parametrize("how", ["leave", "cancel"])
async def test_leaving_while_it_streams(bridge: Bridge, how: str) -> None:
    async with Http(SSEBridgeMiddleware(view(bridge), bridge, path=None)) as client:
        await client.read_until(b"stream.open")
        if how == "leave":
            client.leave()
            await client.ended()
        else:
            client.task.cancel()
            await asyncio.wait({client.task})
            client.task = asyncio.ensure_future(asyncio.sleep(0))
            client.leave()
        await nothing_left(bridge)


async def test_late_offers_are_refused(bridge: Bridge) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((current_handoff(), contextvars.copy_context()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        seen.append(current_handoff())  # the head is gone, so it is too late
        await send({"type": "http.response.body", "body": b""})

    async with Http(SSEBridgeMiddleware(app, bridge, path=None)) as client:
        await client.read_all()
        await client.ended()
    (handoff, context), later = seen
    assert later is None
    assert context.run(current_handoff) is None
    assert not handoff.offer(stream_channels(bridge, "a", scope_request(client.scope)))


async def test_one_middleware_inside_another(bridge: Bridge) -> None:
    app = SSEBridgeMiddleware(SSEBridgeMiddleware(view(bridge), bridge, path=None), bridge, path=None)
    async with Http(app) as client:
        await client.read_until(b"stream.open")
    await nothing_left(bridge)


async def test_serves_its_path_and_passes_the_rest(bridge: Bridge) -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4000})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    app = SSEBridgeMiddleware(page, bridge, authorize=lambda scope, channels: True)
    for target, root_path in (("/events/", ""), ("/events", ""), ("/app/events/", "/app"), ("/events/", "/app")):
        async with Http(app, target + "?channel=a", root_path=root_path) as client:
            await client.read_until(b"stream.open")
        async with WebSocket(app, target + "?channel=a", root_path=root_path) as socket:
            assert "stream.open" in await socket.take()
    for target in ("/", "/events/more", "/eventsource"):
        async with Http(app, target) as client:
            assert await client.read_all() == b"page"
        async with WebSocket(app, target) as socket:
            await socket.ended()
            assert socket.closed == 4000
    await nothing_left(bridge)


async def test_lifespan_passes_through(bridge: Bridge) -> None:
    seen: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        while len(seen) < 2:
            seen.append((await receive())["type"])
            await send({"type": seen[-1] + ".complete"})

    async with Lifespan(SSEBridgeMiddleware(inner, bridge, path=None)):
        assert seen == ["lifespan.startup"]
    assert seen == ["lifespan.startup", "lifespan.shutdown"]


def test_refuses_to_start_without_a_decision(bridge: Bridge) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="authorize=lambda scope, channels: True"):
        SSEBridgeMiddleware(app, bridge)
    with pytest.raises(ConfigurationError, match="slash"):
        SSEBridgeMiddleware(app, bridge, path="events", authorize=lambda scope, channels: True)
    with pytest.raises(ConfigurationError, match="path"):
        SSEBridgeMiddleware(app, bridge, path=None, authorize=lambda scope, channels: True)


# WSGI apps


async def test_wsgi_views_hand_off_from_their_thread_and_are_closed(bridge: Bridge) -> None:
    closed: list[int] = []

    class Body(list):
        def close(self) -> None:
            closed.append(threading.get_ident())

    def wsgi(environ: Any, start_response: Any) -> Any:
        handoff = current_handoff()
        assert handoff is not None
        nonce = handoff.offer(stream_channels(bridge, "a", scope_request({"headers": [], "query_string": b""})))
        assert nonce
        start_response("200 OK", [("X-SSE-Bridge-Handoff", nonce), ("Set-Cookie", "a=1")])
        return Body([nonce.encode()])

    async with Http(flask_asgi(wsgi, bridge)) as client:
        await client.read_until(b"stream.open")
        assert client.headers["set-cookie"] == "a=1"
        assert len(closed) == 1
        assert closed[0] != threading.get_ident()
    await nothing_left(bridge)


async def test_wsgi_requests_run_side_by_side(bridge: Bridge) -> None:
    both = threading.Barrier(2, timeout=60)

    def wsgi(environ: Any, start_response: Any) -> Any:
        both.wait()
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    app = flask_asgi(wsgi, bridge)
    async with Http(app, method="POST", body=b"abc") as one, Http(app) as other:
        assert await asyncio.gather(one.read_all(), other.read_all()) == [b"abc", b""]


async def test_wsgi_a_client_that_leaves_in_its_body_is_no_error_and_other_scopes(bridge: Bridge) -> None:
    def wsgi(environ: Any, start_response: Any) -> Any:
        raise ValueError("a bug")

    client = Http(WsgiApp(wsgi), method="POST")
    client.inbox.get_nowait()
    client.inbox.put_nowait({"type": "http.request", "body": b"half", "more_body": True})
    client.leave()
    async with client:
        await client.ended()
    with pytest.raises(ValueError, match="a bug"):
        async with Http(WsgiApp(wsgi)) as other:
            await other.ended()
    async with Lifespan(flask_asgi(wsgi, bridge)):
        pass
    async with WebSocket(flask_asgi(wsgi, bridge)) as socket:
        await await_for(lambda: socket.closed)
    with pytest.raises(ConfigurationError, match="WSGI"):
        WsgiApp(None)  # type: ignore[arg-type]
