"""The message limit of Channels' WebSocket consumer, while its session waits for a hook, or for a client that reads nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from sse_bridge import Bridge
from sse_bridge.streams.lifecycle.ending import LAST_WRITE_SECONDS
from sse_bridge_channels import EventWebSocketConsumer, websocket
from tests.asgi.strict_server import WebSocket
from tests.support.wait import await_for

PING = '{"type":"ping"}'
FLOOD = 1000  # messages; the limit lets 40 pass at once
MOST = 400  # what the limit lets pass during a test, on a machine that stands still for half a minute too
SLACK_SECONDS = 30.0  # of a loaded machine


async def everybody(scope: Any, channels: tuple[str, ...]) -> bool:
    return True


class Limited:
    """An ASGI app, and what was asked of its server until it sent the close.

    Attributes:
        received: messages that the app took.
        close: the close message; None: none was sent.
        seconds: from the limit's breach, that is the last message taken before the close, to the close.
    """

    def __init__(self, **options: Any) -> None:
        self._app = EventWebSocketConsumer.as_asgi(authorize=everybody, **options)
        self.received = 0
        self.seconds = 0.0
        self.close: dict[str, Any] | None = None
        self._took = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def receiving() -> Any:
            message = await receive()
            if self.close is None:
                self.received += 1
                self._took = asyncio.get_running_loop().time()
            return message

        async def sending(message: Any) -> None:
            if message["type"] == "websocket.close":
                self.close = message
                self.seconds = asyncio.get_running_loop().time() - self._took
            await send(message)

        await self._app(scope, receiving, sending)

    async def closed(self, begins: float) -> None:
        """Waits for the close; the limit's code comes `begins` seconds after the breach, and nothing is received meanwhile."""
        await await_for(lambda: self.close is not None, begins + SLACK_SECONDS, what="the close")
        assert self.close is not None
        assert self.close["code"] == 4429
        assert self.received <= MOST, "what comes behind the limit stays with the server"
        assert begins * 0.9 <= self.seconds < begins + SLACK_SECONDS


class Slow:
    """A hook of each colour that returns when the test says so."""

    def __init__(self, colour: str) -> None:
        self.begun = threading.Event()
        self.end = threading.Event()
        self.hook: Any = self._sync if colour == "sync" else self._async

    def _sync(self, scope: Any, message: Any) -> str:
        self.begun.set()
        assert self.end.wait(60)
        return "an answer that nobody wants any more"

    async def _async(self, scope: Any, message: Any) -> str:
        self.begun.set()
        await await_for(self.end.is_set, 60)
        return "an answer that nobody wants any more"


colours = pytest.mark.parametrize("colour", ["sync", "async"])


async def connected(app: Any, address: str = "/") -> WebsocketCommunicator:
    socket = WebsocketCommunicator(app, address)
    assert (await socket.connect(5))[0]
    return socket


async def flood(socket: WebsocketCommunicator) -> None:
    for _ in range(FLOOD):
        await socket.send_to(text_data=PING)


async def rest(socket: WebsocketCommunicator) -> list[Any]:
    """The messages that wait for the client, up to the close."""
    messages = []
    while (output := await socket.receive_output(5))["type"] != "websocket.close":
        messages.append(json.loads(output["text"]))
    return messages


async def test_a_client_that_sends_without_a_pause_is_closed(bridge: Bridge) -> None:
    app = Limited()
    socket = await connected(app, "/?channel=a")
    await flood(socket)
    await app.closed(0)
    *answers, last = await rest(socket)
    assert [answer["type"] for answer in answers] == ["stream.open", *["stream.pong"] * (len(answers) - 1)]
    assert (last["type"], last["data"]["detail"]) == ("stream.error", {"status": 429})
    await socket.wait(5)


@colours
async def test_a_slow_hook_does_not_hold_up_the_limit(bridge: Bridge, colour: str) -> None:
    slow = Slow(colour)
    app = Limited(on_message=slow.hook)
    socket = await connected(app, "/?channel=a")
    await socket.send_to(text_data='{"type":"mine"}')
    await await_for(slow.begun.is_set)
    await flood(socket)
    await app.closed(LAST_WRITE_SECONDS)
    opened, last = await rest(socket)
    assert (opened["type"], last["data"]["detail"]) == ("stream.open", {"status": 429})
    slow.end.set()
    await socket.wait(5)
    await await_for(lambda: not websocket._hooks, what="the hook to come to its end")
    assert await socket.receive_nothing()


@colours
async def test_a_slow_hook_of_a_client_that_reads_nothing(bridge: Bridge, colour: str) -> None:
    slow = Slow(colour)
    app = Limited(on_message=slow.hook)
    async with WebSocket(app, "/?channel=a", room=0) as client:  # the server waits with each message for its client
        await client.take()
        client.say('{"type":"mine"}')
        await await_for(slow.begun.is_set)
        for _ in range(FLOOD):
            client.say(PING)
        await await_for(lambda: client.blocked, LAST_WRITE_SECONDS + SLACK_SECONDS, what="the reason to be written")
        assert app.received <= MOST
        slow.end.set()
        await client.ended()
        assert "stream.error" in await client.take()
        assert client.messages.empty()
    await await_for(lambda: not websocket._hooks, what="the hook to come to its end")


async def test_a_client_that_reads_nothing_is_closed_behind_its_last_write(bridge: Bridge) -> None:
    app = Limited()
    async with WebSocket(app, "/?channel=a", room=1000) as client:
        await client.take()
        await bridge.apublish("a", "x" * 2000)
        await await_for(lambda: client.blocked, what="the session to wait for its client")
        for _ in range(FLOOD):
            client.say(PING)
        await app.closed(LAST_WRITE_SECONDS)
        await client.ended()
        assert client.messages.qsize() == 1, "behind the event that the client does not read comes the close only"


async def test_others_go_on_beside_a_flood(bridge: Bridge) -> None:
    app = Limited()
    other = await connected(EventWebSocketConsumer.as_asgi(authorize=everybody), "/?channel=a")
    assert (await other.receive_json_from(5))["type"] == "stream.open"
    async with WebSocket(app, "/?channel=a", room=1000) as client:
        await client.take()
        await bridge.apublish("a", "x" * 2000)
        assert len((await other.receive_json_from(5))["data"]) == 2000
        await await_for(lambda: client.blocked, what="the session to wait for its client")
        for _ in range(FLOOD):
            client.say(PING)
            await bridge.apublish("a", "meanwhile")
        for _ in range(FLOOD):
            assert (await other.receive_json_from(5))["data"] == "meanwhile"
        await app.closed(LAST_WRITE_SECONDS)
    await other.disconnect()
