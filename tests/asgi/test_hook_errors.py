"""Hooks that raise what is no plain exception: the request or the message is answered, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge_asgi import EventStreamApp, SSEBridgeMiddleware
from tests.asgi.conftest import nothing_left
from tests.asgi.strict_server import Http, WebSocket
from tests.streams.strange_errors import ALL, STRANGE, async_raiser, raiser

# each hook that fails, and whether it is async; SystemExit on the loop is the process's
CASES = [(raiser(error), name) for name, error in ALL.items()]
CASES += [(async_raiser(error), f"async {name}") for name, error in STRANGE.items()]
cases = pytest.mark.parametrize("hook", [hook for hook, _ in CASES], ids=[name for _, name in CASES])


@cases
async def test_hooks_of_a_request(bridge: Bridge, hook: Any) -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None: ...

    apps = [
        EventStreamApp(bridge, authorize=hook),
        EventStreamApp(bridge, channels=hook),
        SSEBridgeMiddleware(page, bridge, "/", authorize=hook),
    ]
    for app in apps:
        with pytest.raises(RuntimeError, match="raise"):  # the server answers 500
            async with Http(app, "/?channel=a") as client:
                await client.ended()
        assert client.status is None
        with pytest.raises(RuntimeError, match="raise"):
            async with WebSocket(app, "/?channel=a") as socket:
                await socket.ended()
        assert not socket.accepted
    await nothing_left(bridge)


@cases
async def test_hooks_of_a_websocket(bridge: Bridge, hook: Any) -> None:
    def authorize(scope: Any, channels: tuple[str, ...]) -> Any:
        return hook(scope) if "a" in channels else True

    app = EventStreamApp(bridge, authorize=authorize, on_cancel=hook, on_message=hook)
    async with WebSocket(app, "/?channel=b") as client:
        await client.take()
        for message in ({"type": "subscribe", "channels": ["a"]}, {"type": "mine"}, {"type": "cancel"}):
            client.say(json.dumps(message))
            answer = json.loads(await client.take())
            assert (answer["type"], answer["data"]["detail"]["status"]) == ("stream.error", 500), message
        await bridge.apublish("b", 1)
        assert json.loads(await client.take())["data"] == 1, "the connection goes on"
    await nothing_left(bridge)
    assert len(asyncio.all_tasks()) == 1


async def test_a_request_may_be_closed_while_its_sync_hook_runs(bridge: Bridge) -> None:
    """As those of a loop that ends with requests under way are: nobody could catch what came out of them."""
    go_on = threading.Event()
    app = EventStreamApp(bridge, authorize=lambda scope, channels: go_on.wait(60))
    client = Http(app, "/?channel=a")

    async def nothing(message: Any = None) -> Any: ...

    request = app(client.scope, nothing, nothing)
    request.send(None)
    try:
        request.close()
    finally:
        go_on.set()
