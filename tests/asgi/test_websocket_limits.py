"""Limits of a WebSocket's client hold while the session's task is blocked: in a send, or in a hook that does not return."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.streams import Grant
from sse_bridge_asgi import EventStreamApp
from tests.asgi.conftest import nothing_left
from tests.asgi.strict_server import WebSocket
from tests.support.wait import await_for

PING = '{"type":"ping"}'
FLOOD = 1000  # messages; the limit lets 40 pass at once
MOST = 400  # what the limit lets pass during a test, on a machine that stands still for half a minute too
MINE = '{"type":"mine"}'


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given a second has a part of it here."""
    for module in ("lifecycle.ending", "lifecycle.write_timeout", "asgi.websocket"):
        monkeypatch.setattr(f"sse_bridge.streams.{module}.LAST_WRITE_SECONDS", 0.1)


def everybody(scope: Any, channels: tuple[str, ...]) -> bool:
    return True


async def take(client: WebSocket) -> Any:
    return json.loads(await client.take())


async def closed(client: WebSocket) -> int | None:
    await await_for(lambda: client.closed is not None, what="the close")
    return client.closed


class Slow:
    """A hook that returns when the test says so."""

    def __init__(self, colour: str) -> None:
        self.begun = threading.Event()
        self.end = threading.Event()
        self.cancelled = False
        self.hook: Any = self._sync if colour == "sync" else self._async if colour == "async" else self._stubborn

    def _sync(self, scope: Any, message: Any) -> str:
        self.begun.set()
        assert self.end.wait(60)
        return "an answer that nobody wants any more"

    async def _async(self, scope: Any, message: Any) -> str:
        self.begun.set()
        try:
            await await_for(self.end.is_set, 60)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "an answer"

    async def _stubborn(self, scope: Any, message: Any) -> str:
        try:
            return await self._async(scope, message)
        except asyncio.CancelledError:
            return "an answer all the same"


colours = pytest.mark.parametrize("colour", ["sync", "async", "stubborn"])


async def test_a_flood_of_a_client_that_reads_nothing_is_not_received(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, authorize=everybody)
    async with WebSocket(app, "/?channel=a", room=1000) as client:
        await client.take()
        await bridge.apublish("a", "x" * 2000)
        await await_for(lambda: client.blocked, what="the session to wait for its client")
        for _ in range(FLOOD):
            client.say(PING)
        assert await closed(client) == 4429
        assert client.inbox.qsize() > FLOOD - MOST, "what comes behind the limit stays with the server"
        await client.ended()
    await nothing_left(bridge)


async def test_a_server_that_waits_for_the_answer_to_its_close_is_not_waited_for(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, authorize=everybody)

    async def closing_slowly(scope: Any, receive: Any, send: Any) -> None:
        async def send_and_wait(message: Any) -> None:
            await send(message)
            if message["type"] == "websocket.close":
                await asyncio.Event().wait()  # uvicorn with websockets' older protocol: for 10 s, and then once more

        await app(scope, receive, send_and_wait)

    async with WebSocket(closing_slowly, "/?channel=a") as client:
        await client.take()
        for _ in range(FLOOD):
            client.say(PING)
        assert await closed(client) == 4429
        await client.ended()
    await nothing_left(bridge)


@colours
async def test_a_flood_during_a_slow_hook_ends_the_connection(bridge: Bridge, colour: str) -> None:
    slow = Slow(colour)
    app = EventStreamApp(bridge, authorize=everybody, on_message=slow.hook)
    async with WebSocket(app) as client:
        client.say(MINE)
        await await_for(slow.begun.is_set)
        for _ in range(FLOOD):
            client.say(PING)
        assert (await take(client))["data"]["detail"]["status"] == 429
        assert await closed(client) == 4429
        assert client.inbox.qsize() > FLOOD - MOST
        slow.end.set()
        await client.ended()
        assert client.messages.empty()
        assert slow.cancelled is (colour != "sync")
    await nothing_left(bridge)


@pytest.mark.parametrize("extra", ["too long", "too many at once"])
async def test_the_other_limits_during_a_slow_hook(bridge: Bridge, extra: str) -> None:
    slow = Slow("async")
    async with (
        Bridge("memory://", max_websocket_messages_per_second=1e6) as fast,
        WebSocket(EventStreamApp(fast, authorize=everybody, on_message=slow.hook)) as client,
    ):
        client.say(MINE)
        await await_for(slow.begun.is_set)
        for _ in range(1 if extra == "too long" else FLOOD):
            client.say("x" * 20_000 if extra == "too long" else PING)
        assert await closed(client) == (4413 if extra == "too long" else 4429)
        await client.ended()


async def test_a_flood_while_the_session_opens(bridge: Bridge) -> None:
    async def never(scope: Any, channels: tuple[str, ...]) -> bool:
        await asyncio.Event().wait()
        return True

    app = EventStreamApp(bridge, authorize=never)
    async with WebSocket(app) as client:
        client.say('{"type":"subscribe","channels":["a"]}')
        for _ in range(FLOOD):
            client.say(PING)
        assert await closed(client) == 4429
        await client.ended()


async def test_cancels_before_the_breach_are_carried_out(bridge: Bridge) -> None:
    slow, cancelled = Slow("async"), []
    app = EventStreamApp(
        bridge,
        authorize=everybody,
        on_message=slow.hook,
        on_cancel=lambda scope, message: cancelled.append(message["run"]),
    )
    async with WebSocket(app) as client:
        client.say(MINE)
        await await_for(slow.begun.is_set)
        client.say('{"type":"cancel","run":"9"}')
        for _ in range(FLOOD):
            client.say(PING)
        assert await closed(client) == 4429
        await client.ended()
    assert cancelled == ["9"]


@colours
@pytest.mark.parametrize("end", ["drain", "revoked"])
async def test_an_end_that_is_due_does_not_wait_for_a_slow_hook(bridge: Bridge, colour: str, end: str) -> None:
    slow = Slow(colour)
    app = EventStreamApp(bridge, authorize=lambda scope, channels: Grant(user="ann"), on_message=slow.hook)
    async with WebSocket(app, "/?channel=a") as client:
        await client.take()
        client.say(MINE)
        await await_for(slow.begun.is_set)
        if end == "drain":
            bridge.streams.begin_drain(0.0)
        else:
            await bridge.arevoke(user="ann")
        assert (await take(client))["data"] == {"reason": end}
        assert await closed(client) == (4503 if end == "drain" else 4403)
        slow.end.set()
        await client.ended()
        assert client.messages.empty()
    await nothing_left(bridge)
