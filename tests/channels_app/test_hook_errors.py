"""Hooks that raise what is no plain exception: the request or the message is answered, and nothing is left behind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

from sse_bridge import Bridge
from sse_bridge_channels import (
    ChannelFollowerMixin,
    EventStreamConsumer,
    EventWebSocketConsumer,
    SyncChannelFollowerMixin,
)
from tests.asgi.strict_server import Http, WebSocket
from tests.asgi.test_hook_errors import cases
from tests.channels_app.helpers import readers
from tests.streams.strange_errors import STRANGE
from tests.support.wait import await_for


@cases
async def test_hooks_of_a_request(bridge: Bridge, hook: Any) -> None:
    for options in ({"authorize": hook}, {"get_channels": hook}):
        with pytest.raises(RuntimeError, match="raise"):  # the server answers 500
            async with Http(EventStreamConsumer.as_asgi(**options), "/?channel=a") as request:
                await request.ended()
        with pytest.raises(RuntimeError, match="raise"):
            async with WebSocket(EventWebSocketConsumer.as_asgi(**options), "/?channel=a") as socket:
                await socket.ended()
    assert readers(bridge) == 0


@cases
async def test_hooks_of_a_websocket(bridge: Bridge, hook: Any) -> None:
    app = EventWebSocketConsumer.as_asgi(authorize=lambda scope, channels: True, on_message=hook, on_cancel=hook)
    async with WebSocket(app, "/?channel=a") as client:
        await client.take()
        for kind in ("mine", "cancel"):
            client.say(json.dumps({"type": kind}))
            assert json.loads(await client.take())["data"]["detail"]["status"] == 500
        await bridge.apublish("a", 1)
        assert json.loads(await client.take())["data"] == 1, "the connection goes on"


@pytest.mark.parametrize("error", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_on_event_ends_its_consumer(bridge: Bridge, error: Any, colour: str) -> None:
    class Sync(SyncChannelFollowerMixin, WebsocketConsumer):
        def connect(self) -> None:
            self.accept()
            self.follow("a")
            self.send("follows")

        def on_event(self, event: Any) -> None:
            raise error()

    class Async(ChannelFollowerMixin, AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            await self.follow("a")
            await self.send("follows")

        async def on_event(self, event: Any) -> None:
            raise error()

    consumer = Sync if colour == "sync" else Async
    with pytest.raises(RuntimeError, match="raise"):
        async with WebSocket(consumer.as_asgi()) as client:
            assert await client.take() == "follows"
            await bridge.apublish("a", 1)
            await client.ended()
    await await_for(lambda: readers(bridge) == 0, what="the consumer to give everything back")
