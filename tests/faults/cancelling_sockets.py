"""WebSockets whose tasks are cancelled at random moments, as servers do it when they go down or their client leaves.

Each client has a channel of its own, comes back with the last id that it got, and asks questions that the application's hook
answers from the bridge. It must be told of its own channel only, be given answers to its own questions only, and see every
event of its log once, in order, over all connections.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.conf import settings

from sse_bridge import Bridge, Event
from sse_bridge_asgi import EventStreamApp
from sse_bridge_channels import ChannelFollowerMixin
from tests.faults.cancelling import LONGEST_SECONDS, PATIENCE_SECONDS, Impatience
from tests.faults.registry import Tally
from tests.support.wait import await_for

if not settings.configured:  # Channels asks for CHANNEL_LAYERS; any project's will do
    settings.configure()

App = Callable[[Any, Any, Any], Awaitable[None]]
END = "stream.end"


class Connection:
    """One WebSocket of an ASGI server, in memory. What a cancelled `send` was about to hand over did not arrive.

    Attributes:
        arrived: the app's messages, taken apart.
        task: the server's; whoever cancels it is the fault.
    """

    def __init__(self, app: App, chance: random.Random, query: str = "") -> None:
        self.arrived: list[dict[str, Any]] = []
        self._chance = chance
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "path": "/", "query_string": query.encode(), "headers": [],
            "subprotocols": [],
        }  # fmt: skip
        self.task = asyncio.ensure_future(app(scope, self._inbox.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        for _ in range(self._chance.randrange(3)):
            await asyncio.sleep(0)  # a client that is not always ready
        if message["type"] == "websocket.send":
            self.arrived.append(json.loads(message["text"]))

    def say(self, **message: Any) -> None:
        self._inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    async def leave(self) -> None:
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await asyncio.wait([self.task], timeout=PATIENCE_SECONDS)
        assert self.task.done(), "the app did not return after its client left"


class Client(Impatience):
    """One client and its channel.

    Attributes:
        seen: what it saw of the channel's log, over all connections.
        last_id: where it resumes.
    """

    def __init__(self, bridge: Bridge, app: App, name: str, chance: random.Random, tally: Tally) -> None:
        super().__init__(chance, tally)
        self.bridge = bridge
        self.name = name
        self.app = app
        self.asked = 0
        self.seen: list[tuple[str, int]] = []
        self.last_id = "earliest"

    async def run(self, rounds: int) -> None:
        for number in range(rounds):
            await self.bridge.apublish(self.name, [self.name, number])
            await self.connect_shortly()
        await self.bridge.aclose_channel(self.name)
        last = Connection(self.app, self.chance)
        last.say(type="subscribe", channels=[self.name], after=self.last_id)
        await await_for(
            lambda: any(message["type"] == END for message in last.arrived), PATIENCE_SECONDS, what=f"{self.name}'s end"
        )
        await last.leave()
        self.take(last)
        stored = await self.bridge.ahistory(self.name, limit=10_000)
        self.tally.published += rounds
        log = [(event.data[0], event.data[1]) for event in stored if event.type == "message"]
        if self.seen != log:
            self.tally.wrong.append(f"{self.name} saw {self.seen}, the log holds {log}")

    async def connect_shortly(self) -> None:
        connection = Connection(self.app, self.chance)
        connection.say(type="subscribe", channels=[self.name], after=self.last_id)
        for _ in range(self.chance.randrange(3)):
            self.asked += 1
            connection.say(type="ask", by=self.name, n=self.asked)
        if self.chance.random() < 0.3:
            connection.say(type="unsubscribe", channels=[self.name])
        if self.chance.random() < 0.2:
            await connection.leave()
        else:
            await asyncio.sleep(self.chance.choice((0, self.chance.uniform(0, 5 * LONGEST_SECONDS))))
            if not connection.task.done():
                connection.task.cancel()
                self.cancelled["websocket"] += 1
                self.tally.faults += 1
            await asyncio.wait([connection.task], timeout=PATIENCE_SECONDS)
            if not connection.task.done():
                self.tally.wrong.append(f"{self.name}: a cancelled connection goes on")
            elif not connection.task.cancelled() and connection.task.exception() is not None:
                self.tally.wrong.append(f"{self.name}: {connection.task.exception()!r}")
        self.take(connection)

    def take(self, connection: Connection) -> None:
        """What arrived on one connection."""
        asked = 0
        for message in connection.arrived:
            data = message.get("data")
            if message["type"] == "message":
                if message["channel"] != self.name or data[0] != self.name:
                    self.tally.wrong.append(f"{self.name} was sent {message}")
                self.seen.append((data[0], data[1]))
            elif message["type"] == "stream.reply":
                answer = data["result"]
                if (
                    answer["by"] != self.name
                    or not asked < answer["n"] <= self.asked
                    or answer["first"] != [self.name, 0]
                ):
                    self.tally.wrong.append(f"{self.name} was answered {message}")
                asked = answer["n"]
            elif message["type"] in ("stream.gap", "stream.error"):
                self.tally.wrong.append(f"{self.name} was told {message}")
            if message.get("id"):
                self.last_id = message["id"]


def answering(bridge: Bridge) -> App:
    """An app whose hook asks the bridge: what of it is cancelled is cancelled in the middle of that."""

    async def on_message(scope: Any, message: Mapping[str, Any]) -> dict[str, Any]:
        name = message["by"]
        first = await bridge.ahistory(name, limit=1)
        await bridge.apublish(f"{name}.asked", [name, message["n"]])
        return {"by": name, "n": message["n"], "first": first[0].data}

    return EventStreamApp(bridge, authorize=lambda scope, channels: True, on_message=on_message)


def following(bridge: Bridge, client: Impatience, name: str) -> App:
    """A consumer of Channels that follows and leaves, in the middle of both; what it is told must be of its own channel."""

    class Consumer(ChannelFollowerMixin, AsyncConsumer):
        async def websocket_connect(self, message: Any) -> None:
            await self.send({"type": "websocket.accept"})
            for _ in range(5):
                await client.impatiently(lambda: self.follow(name, after="earliest"), "ChannelFollowerMixin.follow")
                if client.chance.random() < 0.5:
                    await client.impatiently(lambda: self.unfollow(name), "ChannelFollowerMixin.unfollow")
            await self.follow(name, after="earliest")

        async def on_event(self, event: Event) -> None:
            await self.send({"type": "websocket.send", "text": json.dumps([event.channel, event.data, event.type])})

        async def websocket_disconnect(self, message: Any) -> None:
            raise StopConsumer

    Consumer.bridge = bridge
    return Consumer.as_asgi()  # type: ignore[no-any-return]


async def follow_impatiently(bridge: Bridge, name: str, chance: random.Random, tally: Tally) -> set[str]:
    """One consumer's life: in the end it is told everything from the beginning, once."""
    client = Impatience(chance, tally)
    for number in range(5):
        await bridge.apublish(name, [name, number])
    await bridge.aclose_channel(name)
    connection = Connection(following(bridge, client, name), chance)
    expected = [[name, [name, number], "message"] for number in range(5)]
    await await_for(
        lambda: [name, None, END] in [_short(one) for one in connection.arrived], PATIENCE_SECONDS, what=name
    )
    await connection.leave()
    arrived: list[Any] = list(connection.arrived)
    if [one for one in arrived if one[2] == "message"][-5:] != expected or any(one[0] != name for one in arrived):
        tally.wrong.append(f"{name} was told {arrived}")
    return set(client.cancelled)


def _short(told: Any) -> list[Any]:
    return [told[0], None, told[2]] if told[2] == END else told  # type: ignore[no-any-return]


async def cancel_sockets(bridge: Bridge, seed: int, clients: int, rounds: int, tally: Tally) -> set[str]:
    """So many clients and consumers at once; what was cancelled."""
    chance = random.Random(seed)
    app = answering(bridge)
    lives = [Client(bridge, app, f"client{n}", random.Random(chance.random()), tally) for n in range(clients)]
    consumers = [
        follow_impatiently(bridge, f"consumer{n}", random.Random(chance.random()), tally) for n in range(clients)
    ]
    names, *_ = await asyncio.gather(asyncio.gather(*consumers), *[life.run(rounds) for life in lives])
    return {name for life in lives for name in life.cancelled}.union(*names)
