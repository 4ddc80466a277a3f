"""A source over WebSocket, on raw ASGI, in a Starlette endpoint and as a Channels consumer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as Endpoint

from sse_bridge import Bridge
from sse_bridge.errors import ConfigurationError, InvalidInput
from sse_bridge.streams import Grant
from sse_bridge_asgi import send_source
from sse_bridge_channels import SourceWebSocketConsumer
from sse_bridge_starlette import send_source as send_to_endpoint
from tests.asgi.strict_server import WebSocket
from tests.streams.strange_errors import STRANGE
from tests.support.wait import astays, await_for

if not settings.configured:  # Channels' validators ask for ALLOWED_HOSTS
    settings.configure(ALLOWED_HOSTS=["testserver"])

Make = Callable[..., Any]


def on_asgi(bridge: Bridge, source: Any, **options: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send_source(scope, receive, send, source, bridge=bridge, **options)

    return app


def on_starlette(bridge: Bridge, source: Any, *, accept: bool = False, **options: Any) -> Any:
    async def endpoint(websocket: Endpoint) -> None:
        if accept:
            await websocket.accept()
        await send_to_endpoint(websocket, source, bridge=bridge, **options)

    return Starlette(routes=[WebSocketRoute("/", endpoint)])


def on_channels(bridge: Bridge, source: Any, *, grant: Grant | None = None, **options: Any) -> Any:
    if grant is not None:
        options["authorize"] = lambda scope, channels: grant
    return SourceWebSocketConsumer.as_asgi(bridge=bridge, get_source=lambda scope: source, **options)


ADAPTERS = {"asgi": on_asgi, "starlette": on_starlette, "channels": on_channels}
adapters = pytest.mark.parametrize("app", ADAPTERS.values(), ids=ADAPTERS)


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with Bridge("memory://", linger_seconds=0.0) as bridge:
        yield bridge
        await await_for(lambda: len(bridge.streams) == 0, what="no stream left")


def numbers(count: int) -> Iterator[Any]:
    for number in range(count):
        yield {"event": "count", "data": number}


async def anumbers(count: int) -> AsyncIterator[Any]:
    for number in range(count):
        yield {"event": "count", "data": number}
        await asyncio.sleep(0)


async def rest(client: WebSocket) -> list[tuple[str, Any]]:
    """The messages up to the close."""
    await client.ended()
    found = []
    while not client.messages.empty():
        message = json.loads(await client.take())
        found.append((message["type"], message["data"]))
    return found


SOURCES: dict[str, Callable[[], Any]] = {
    "generator": lambda: numbers(3),
    "async generator": lambda: anumbers(3),
    "list": lambda: list(numbers(3)),
    "function": lambda: lambda: numbers(3),
    "async function": lambda: lambda: anumbers(3),
}


@adapters
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_items_and_the_end(bridge: Bridge, app: Make, source: Any) -> None:
    async with WebSocket(app(bridge, source()), subprotocols=["sse-bridge.v1"]) as client:
        got = await rest(client)
    assert got[0] == ("stream.open", {})
    assert got[1:-1] == [("count", 0), ("count", 1), ("count", 2)]
    assert got[-1] == ("stream.end", {"channel": None, "reason": "completed"})
    assert (client.closed, client.accepted) == (1000, ["sse-bridge.v1"])


@pytest.mark.parametrize("app", [on_asgi, on_starlette])
async def test_origins_of_none_let_no_other_page_in(bridge: Bridge, app: Make) -> None:
    client = WebSocket(app(bridge, list(numbers(3)), origins=None), headers={"Origin": "https://evil.example"})
    with pytest.raises(TypeError):
        async with client:
            await client.ended()
    assert client.accepted == []


@adapters
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_failure_is_told_without_its_words(
    bridge: Bridge, app: Make, colour: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def afails() -> AsyncIterator[Any]:
        yield "well"
        raise RuntimeError("a secret")

    def fails() -> Iterator[Any]:
        yield "well"
        raise RuntimeError("a secret")

    async with WebSocket(app(bridge, fails() if colour == "sync" else afails())) as client:
        got = await rest(client)
    assert [kind for kind, _ in got] == ["stream.open", "message", "stream.error", "stream.end"]
    assert "secret" not in str(got)
    assert got[-1][1]["reason"] == "error"
    assert client.closed == 4500
    assert "a secret" in caplog.text


async def test_strange_failures_end_the_connection_too(bridge: Bridge, caplog: pytest.LogCaptureFixture) -> None:
    for error in STRANGE.values():

        async def fails() -> AsyncIterator[Any]:
            yield "well"
            raise error()  # noqa: B023

        async with WebSocket(on_asgi(bridge, fails())) as client:
            await client.ended()
        assert client.closed == 4500, error


class Endless:
    """A source without end, sync or async, that counts what was drawn."""

    def __init__(self) -> None:
        self.drawn = 0
        self.closed = False

    async def items(self) -> AsyncIterator[str]:
        try:
            while True:
                self.drawn += 1
                yield "x" * 1000
        finally:
            self.closed = True

    def sync_items(self) -> Iterator[str]:
        try:
            while True:
                self.drawn += 1
                yield "x" * 1000
        finally:
            self.closed = True


@adapters
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_client_that_reads_nothing_holds_up_its_source(bridge: Bridge, app: Make, colour: str) -> None:
    source = Endless()
    items = source.sync_items() if colour == "sync" else source.items()
    async with WebSocket(app(bridge, items), room=10_000) as client:
        await await_for(lambda: client.blocked, what="the send to wait for the client")
        await await_for(lambda: source.drawn >= 60)
        await astays(lambda: source.drawn < 120)  # 64 KiB wait for the client, and no more is drawn
        for _ in range(50):
            await client.take()
        await await_for(lambda: source.drawn > 60)
    await await_for(lambda: source.closed, what="the source to be closed when its client has left")


@adapters
async def test_a_cancel_stops_the_source(bridge: Bridge, app: Make) -> None:
    source = Endless()
    async with WebSocket(app(bridge, source.items())) as client:
        await client.take()
        client.say('{"type":"cancel"}')
        got = await rest(client)
    assert got[-1] == ("stream.end", {"channel": None, "reason": "cancelled"})
    assert client.closed == 1000
    await await_for(lambda: source.closed)


async def waiting(begun: asyncio.Event) -> AsyncIterator[str]:
    begun.set()
    await asyncio.Event().wait()
    yield "never"


async def test_what_a_client_says_meanwhile(bridge: Bridge) -> None:
    async with WebSocket(on_asgi(bridge, waiting(asyncio.Event()))) as client:
        await client.take()
        client.say('{"type":"ping"}')
        assert json.loads(await client.take())["type"] == "stream.pong"
        for text, status in (
            ("nonsense", 400),
            ('{"type":"mine"}', 400),
            ('{"type":"subscribe","channels":["a"]}', 403),
        ):
            client.say(text)
            told = json.loads(await client.take())["data"]
            assert told["detail"]["status"] == status
        assert "subscriptions" in told["message"]
        for _ in range(500):
            client.say('{"type":"ping"}')
        await await_for(lambda: client.closed)
        assert client.closed == 4429
        assert client.inbox.qsize() > 400


async def test_the_limit_of_a_client_that_reads_nothing(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Endless()
    async with WebSocket(on_asgi(bridge, source.items()), room=1000) as client:
        await await_for(lambda: client.blocked)
        client.say("x" * 20_000)
        await await_for(lambda: client.closed)
        assert client.closed == 4413
        await client.ended()
    await await_for(lambda: source.closed)


@adapters
async def test_what_ends_it_early(bridge: Bridge, app: Make) -> None:
    async with WebSocket(app(bridge, waiting(asyncio.Event()), grant=Grant(user="ann"))) as client:
        await client.take()
        await bridge.arevoke(user="ann")
        assert (await rest(client))[-1] == ("stream.close", {"reason": "revoked"})
        assert client.closed == 4403
    async with WebSocket(app(bridge, waiting(asyncio.Event()))) as client:
        await client.take()
        bridge.streams.begin_drain(0.0)
        assert (await rest(client))[-1] == ("stream.close", {"reason": "drain"})
        assert client.closed == 4503


@adapters
async def test_refused_before_the_handshake(bridge: Bridge, app: Make) -> None:
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    late = Grant(user="ann", expires_at=time.time() - 1)
    for headers, options, status in (
        ({"Origin": "https://evil.example"}, {}, 403),
        ({}, {"grant": late}, 401),
    ):
        source = Endless()
        async with WebSocket(app(bridge, source.items(), **options), headers=headers, extensions=extensions) as client:
            await client.ended()
        assert (client.status, client.accepted, source.drawn) == (status, [], 0)


async def test_an_endpoint_that_has_accepted_has_decided(bridge: Bridge) -> None:
    headers = {"Origin": "https://other.example"}
    async with WebSocket(on_starlette(bridge, numbers(1), accept=True), headers=headers) as client:
        assert ("count", 0) in await rest(client)
    late = Grant(user="ann", expires_at=time.time() - 1)
    async with WebSocket(on_starlette(bridge, numbers(1), accept=True, grant=late)) as client:
        await client.ended()
        assert client.closed == 4401


@adapters
async def test_a_client_that_comes_back(bridge: Bridge, app: Make) -> None:
    async with WebSocket(app(bridge, lambda: numbers(1)), "/?after=stream.open") as client:
        assert (await rest(client))[0] == ("stream.open", {"restarted": True})
    for options, after in (({}, "stream.end"), ({"restart": False}, "stream.open")):
        async with WebSocket(app(bridge, lambda: numbers(1), **options), f"/?after={after}") as client:
            assert await rest(client) == [("stream.end", {"channel": None, "reason": "completed"})]
            assert client.closed == 1000


def test_a_consumer_without_a_source_refuses_to_start() -> None:
    with pytest.raises(ConfigurationError, match=r"define get_source\(scope\)"):
        SourceWebSocketConsumer.as_asgi()


async def test_what_is_no_source_is_the_application_s_mistake(bridge: Bridge) -> None:
    with pytest.raises(InvalidInput, match="source"):
        async with WebSocket(on_asgi(bridge, 42)) as client:
            await client.ended()
