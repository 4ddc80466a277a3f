"""A client that takes nothing is given up a moment after its stream's end is due: sources on ASGI, and WebSockets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.streams import Grant, StreamRequest, send_stream, stream_source
from sse_bridge_asgi import EventStreamApp
from tests.asgi.strict_server import Http, WebSocket
from tests.support.wait import astays, await_for

ROOM = 1 << 16


class Flood:
    """A source that makes more than anybody takes."""

    ended = False

    async def items(self) -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 1000
        finally:
            self.ended = True


def serving(bridge: Bridge, flood: Flood, **grant: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        response = stream_source(bridge, flood.items, StreamRequest(), grant=Grant(**grant))
        await send_stream(response, receive, send)

    return app


async def drain(bridge: Bridge) -> None:
    bridge.streams.begin_drain(0.0)


async def revoke(bridge: Bridge) -> None:
    await bridge.arevoke(user="ada")


async def nothing(bridge: Bridge) -> None:
    """Its credentials end by themselves."""


ENDS: dict[str, Any] = {
    "drain": (drain, dict),
    "revoked": (revoke, lambda: {"user": "ada"}),
    "expired": (nothing, lambda: {"expires_at": time.time() + 2}),  # time to fill what the client has room for
}
ends = pytest.mark.parametrize(("end", "grant"), ENDS.values(), ids=ENDS)


@pytest.fixture
def long_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a client that is only slow takes on a loaded machine."""
    for module in ("lifecycle.ending", "lifecycle.write_timeout", "asgi.websocket", "asgi.pushed"):
        monkeypatch.setattr(f"sse_bridge.streams.{module}.LAST_WRITE_SECONDS", 20.0)


@ends
async def test_a_source(end: Callable[[Bridge], Any], grant: Callable[[], Any]) -> None:
    flood = Flood()
    async with Bridge("memory://") as bridge:
        http = Http(serving(bridge, flood, **grant()), room=ROOM)
        async with http:
            await await_for(lambda: http.blocked)
            await end(bridge)
            await asyncio.wait_for(http.task, 60)
            assert not http.complete
            await await_for(lambda: flood.ended and len(bridge.streams) == 0)
            assert all(not hub.admission.state.members for hub in bridge.hubs())


@pytest.mark.usefixtures("long_moment")
async def test_a_slow_client_gets_the_last_frame_of_its_source_within_that_moment() -> None:
    flood = Flood()
    async with Bridge("memory://") as bridge, Http(serving(bridge, flood), room=ROOM) as http:
        await await_for(lambda: http.blocked)
        bridge.streams.begin_drain(0.0)
        await astays(lambda: http.blocked, 0.2)
        assert (await http.read_all()).rstrip().endswith(b'data: {"reason":"drain"}')


async def test_a_source_that_ended_by_itself_is_not_hurried() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send_stream(stream_source(bridge, ["x" * ROOM] * 3, StreamRequest()), receive, send)

    async with Bridge("memory://") as bridge, Http(app, room=ROOM) as http:
        await await_for(lambda: http.blocked)
        await astays(lambda: not http.task.done(), 1.5)
        assert b"stream.end" in await http.read_all()


@ends
async def test_a_websocket(end: Callable[[Bridge], Any], grant: Callable[[], Any]) -> None:
    granted = Grant(**grant())
    async with Bridge("memory://") as bridge:
        app = EventStreamApp(bridge, channels=("a",), authorize=lambda scope, channels: granted)
        async with WebSocket(app, room=ROOM) as client:
            assert json.loads(await client.take())["type"] == "stream.open"
            for _ in range(5):
                await bridge.apublish("a", "x" * 30_000)
            await await_for(lambda: client.blocked)
            await end(bridge)
            await asyncio.wait_for(client.task, 60)
            assert client.closed is None, "a close would have to wait like all else"
            assert len(bridge.streams) == bridge.loop_hub().readers() == 0


async def test_the_lifetime_of_a_websocket() -> None:
    async with Bridge("memory://", max_stream_seconds=2.0) as bridge:
        app = EventStreamApp(bridge, channels=("a",), authorize=lambda scope, channels: True)
        async with WebSocket(app, room=ROOM) as client:
            await client.take()
            for _ in range(5):
                await bridge.apublish("a", "x" * 30_000)
            await await_for(lambda: client.blocked)
            await asyncio.wait_for(client.task, 60)


async def test_a_websocket_whose_bridge_is_closed() -> None:
    bridge = Bridge("memory://")
    app = EventStreamApp(bridge, channels=("a",), authorize=lambda scope, channels: True)
    async with WebSocket(app, room=ROOM) as client:
        await client.take()
        for _ in range(5):
            await bridge.apublish("a", "x" * 30_000)
        await await_for(lambda: client.blocked)
        await bridge.aclose()
        await asyncio.wait_for(client.task, 60)
    assert len(bridge.streams) == 0


@pytest.mark.usefixtures("long_moment")
async def test_a_slow_websocket_gets_its_goodbye_within_that_moment() -> None:
    async with Bridge("memory://") as bridge:
        app = EventStreamApp(bridge, channels=("a",), authorize=lambda scope, channels: True)
        async with WebSocket(app, room=ROOM) as client:
            await client.take()
            for _ in range(5):
                await bridge.apublish("a", "x" * 30_000)
            await await_for(lambda: client.blocked)
            bridge.streams.begin_drain(0.0)
            await astays(lambda: client.blocked, 0.2)
            types = []
            while client.closed is None or not client.messages.empty():
                types.append(json.loads(await client.take())["type"])
            assert types[-1] == "stream.close"
            assert client.closed == 4503
