"""The mixins, with Channels' own communicator: dispatch one after the other, unfollow, errors, and all is given back."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from channels.consumer import AsyncConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.testing import ApplicationCommunicator, WebsocketCommunicator

from sse_bridge import Bridge, ByVisibility, Event, Visibility
from sse_bridge.errors import AsyncContextError, BridgeClosed, ConfigurationError, InvalidChannel
from sse_bridge_channels import ChannelFollowerMixin, SyncChannelFollowerMixin
from tests.channels_app.helpers import readers
from tests.support.wait import await_for


class Follower(ChannelFollowerMixin, AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **_: Any) -> None:
        if "unfollow" in content:
            await self.unfollow(*content["unfollow"])
        else:
            await self.follow(*content["follow"], after=content.get("after"))
        await self.send_json({"followed": sorted(self.followed)})

    async def on_event(self, event: Event) -> None:
        await self.send_json([event.channel, event.type, event.data, event.id])


class SyncFollower(SyncChannelFollowerMixin, JsonWebsocketConsumer):
    def receive_json(self, content: Any, **_: Any) -> None:
        if "unfollow" in content:
            self.unfollow(*content["unfollow"])
        else:
            self.follow(*content["follow"], after=content.get("after"))
        self.send_json({"followed": sorted(self.followed)})

    def on_event(self, event: Event) -> None:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        self.send_json([event.channel, event.type, event.data, event.id])


both = pytest.mark.parametrize("consumer", [Follower, SyncFollower])


async def connected(consumer: type[Any]) -> WebsocketCommunicator:
    socket = WebsocketCommunicator(consumer.as_asgi(), "/")
    assert (await socket.connect(5))[0]
    return socket


async def ask(socket: WebsocketCommunicator, **content: Any) -> Any:
    await socket.send_json_to(content)
    return await socket.receive_json_from(5)


@both
async def test_events_of_several_channels(bridge: Bridge, consumer: type[Any]) -> None:
    socket = await connected(consumer)
    assert await ask(socket, follow=["a", "b"]) == {"followed": ["a", "b"]}
    first = await bridge.apublish("a", 1, type="one")
    assert await socket.receive_json_from(5) == ["a", "one", 1, str(first)]
    await bridge.apublish("b", 2)
    assert (await socket.receive_json_from(5))[:3] == ["b", "message", 2]
    await socket.disconnect()
    assert readers(bridge) == 0


@both
async def test_resume(bridge: Bridge, consumer: type[Any]) -> None:
    positions = [await bridge.apublish("a", number) for number in range(5)]
    socket = await connected(consumer)
    await ask(socket, follow=["a"], after=str(positions[1]))
    assert [(await socket.receive_json_from(5))[2] for _ in range(3)] == [2, 3, 4]
    await socket.disconnect()


@both
async def test_an_id_of_another_life_is_a_gap(bridge: Bridge, consumer: type[Any]) -> None:
    socket = await connected(consumer)
    await socket.send_json_to({"follow": ["a"], "after": "no-id-of-ours"})
    said = [await socket.receive_json_from(5) for _ in range(2)]
    assert next(each for each in said if isinstance(each, list))[1] == "stream.gap"
    await socket.disconnect()


@both
async def test_unfollow_takes_back_what_is_under_way(bridge: Bridge, consumer: type[Any]) -> None:
    await bridge.apublish_many([("a", number) for number in range(500)])
    socket = await connected(consumer)
    await socket.send_json_to({"follow": ["a"], "after": "earliest"})
    await socket.send_json_to({"unfollow": ["a"]})
    heard = []
    while (said := await socket.receive_json_from(5)) != {"followed": []}:
        heard.append(said)
    assert len(heard) < 500
    assert await socket.receive_nothing(0.05)
    assert readers(bridge) == 0
    await socket.disconnect()


@both
async def test_following_anew_begins_where_it_is_told(bridge: Bridge, consumer: type[Any]) -> None:
    position = await bridge.apublish("a", 0)
    await bridge.apublish("a", 1)
    socket = await connected(consumer)
    for _ in range(2):
        await ask(socket, follow=["a"], after=str(position))
        assert (await socket.receive_json_from(5))[2] == 1
    assert readers(bridge) == 1
    await socket.disconnect()


@both
async def test_the_end_of_a_channel(bridge: Bridge, consumer: type[Any]) -> None:
    socket = await connected(consumer)
    await ask(socket, follow=["a", "b"])
    await bridge.aclose_channel("a", "completed")
    end = await socket.receive_json_from(5)
    assert end[:3] == ["a", "stream.end", {"channel": "a", "reason": "completed"}]
    assert await ask(socket, unfollow=["c"]) == {"followed": ["b"]}
    await socket.disconnect()


@both
async def test_a_flood_delays_no_message_of_the_client(bridge: Bridge, consumer: type[Any]) -> None:
    await bridge.apublish_many([("a", number) for number in range(900)])
    socket = await connected(consumer)
    await socket.send_json_to({"follow": ["a"], "after": "earliest"})
    await socket.receive_json_from(5)
    await socket.receive_json_from(5)
    await socket.send_json_to({"follow": ["b"]})
    events = 0
    while (await socket.receive_json_from(5)) != {"followed": ["a", "b"]}:
        events += 1
    assert events < 900
    await socket.disconnect()


@both
async def test_events_are_dispatched_as_messages_are_one_by_one(bridge: Bridge, consumer: type[Any]) -> None:
    busy = threading.Lock()
    together: list[str] = []

    def enter(name: str) -> None:
        if not busy.acquire(blocking=False):
            together.append(name)

    class Slow(consumer):  # type: ignore[misc]
        pass

    if consumer is Follower:

        async def on_event(self: Any, event: Event) -> None:
            enter("event")
            await asyncio.sleep(0)
            busy.release()
            await Follower.on_event(self, event)

        async def receive_json(self: Any, content: Any, **_: Any) -> None:
            enter("message")
            await asyncio.sleep(0)
            await Follower.receive_json(self, content)
            busy.release()
    else:

        def on_event(self: Any, event: Event) -> None:  # type: ignore[misc]
            enter("event")
            busy.release()
            SyncFollower.on_event(self, event)

        def receive_json(self: Any, content: Any, **_: Any) -> None:  # type: ignore[misc]
            enter("message")
            SyncFollower.receive_json(self, content)
            busy.release()

    Slow.on_event, Slow.receive_json = on_event, receive_json
    socket = await connected(Slow)
    await ask(socket, follow=["a"])
    for number in range(10):
        await bridge.apublish("a", number)
        await socket.send_json_to({"follow": [f"other:{number}"]})
    for _ in range(20):
        await socket.receive_json_from(5)
    assert together == []
    await socket.disconnect()


@pytest.mark.parametrize("base", [AsyncWebsocketConsumer, WebsocketConsumer])
async def test_what_on_event_raises_ends_the_consumer(bridge: Bridge, base: type[Any]) -> None:
    if base is AsyncWebsocketConsumer:

        class Broken(ChannelFollowerMixin, AsyncWebsocketConsumer):
            async def connect(self) -> None:
                await self.follow("a")
                await self.accept()

            async def on_event(self, event: Event) -> None:
                raise LookupError("a bug")
    else:

        class Broken(SyncChannelFollowerMixin, WebsocketConsumer):  # type: ignore[no-redef]
            def connect(self) -> None:
                self.follow("a")
                self.accept()

            def on_event(self, event: Event) -> None:
                raise LookupError("a bug")

    socket = await connected(Broken)
    await bridge.apublish("a")
    with pytest.raises(LookupError):
        await socket.wait(5)
    assert readers(bridge) == 0


async def test_a_closed_bridge_is_told(bridge: Bridge) -> None:
    told: list[tuple[str, Exception]] = []

    class Watch(Follower):
        async def on_follow_error(self, channel: str, error: Exception) -> None:
            told.append((channel, error))

    async with Bridge("memory://") as other:
        Watch.bridge = other
        socket = await connected(Watch)
        await ask(socket, follow=["a"])
    channel, error = (await await_for(lambda: told))[0]
    assert channel == "a"
    assert isinstance(error, BridgeClosed)
    await socket.disconnect()


async def test_a_slow_reader_that_is_to_be_disconnected_ends_the_consumer(bridge: Bridge) -> None:
    class Slow(ChannelFollowerMixin, AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.follow("a", policy="disconnect", queue_size=1)
            await self.accept()
            await bridge.apublish_many([("a", number) for number in range(1200)])

        async def on_event(self, event: Event) -> None:
            pass

    socket = await connected(Slow)
    with pytest.raises(Exception, match="behind"):
        await socket.wait(5)


async def test_a_refused_follow_follows_nothing(bridge: Bridge) -> None:
    outcome: list[BaseException] = []

    class Asks(ChannelFollowerMixin, AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            try:
                await self.follow("a", "b c")
            except InvalidChannel as error:
                outcome.append(error)

    socket = await connected(Asks)
    await await_for(lambda: outcome)
    assert readers(bridge) == 0
    await socket.disconnect()


async def test_the_server_cancels_a_consumer(bridge: Bridge) -> None:
    socket = await connected(Follower)
    await ask(socket, follow=["a"])
    socket.stop()
    await await_for(lambda: readers(bridge) == 0)


async def test_a_consumer_without_websocket(bridge: Bridge) -> None:
    heard: list[Any] = []

    class Worker(ChannelFollowerMixin, AsyncConsumer):
        async def work_begin(self, message: Any) -> None:
            await self.follow(message["channel"])
            heard.append("following")

        async def on_event(self, event: Event) -> None:
            heard.append(event.data)

    worker = ApplicationCommunicator(Worker.as_asgi(), {"type": "channel", "channel": "worker"})
    await worker.send_input({"type": "work.begin", "channel": "a"})
    await await_for(lambda: heard)
    await bridge.apublish("a", 1)
    await await_for(lambda: heard == ["following", 1])
    worker.stop()
    await await_for(lambda: readers(bridge) == 0)


async def test_internal_events_stay_inside_unless_asked_for(bridge: Bridge) -> None:
    class Asks(Follower):
        async def receive_json(self, content: Any, **_: Any) -> None:
            await self.follow("all", filter=ByVisibility(*Visibility))
            await self.follow("a")
            await self.send_json({})

    socket = await connected(Asks)
    await ask(socket)
    for channel in ("a", "all"):
        await bridge.apublish(channel, "inside", visibility="internal_only")
    assert (await socket.receive_json_from(5))[0] == "all"
    assert await socket.receive_nothing(0.05)
    await socket.disconnect()


async def test_blocking_calls_on_a_loop_are_refused(bridge: Bridge) -> None:
    with pytest.raises(AsyncContextError, match="follow"):
        SyncFollower().follow("a")
    with pytest.raises(ConfigurationError, match="connection"):
        await Follower().follow("a")


def test_the_bases_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="first"):
        type("Wrong", (AsyncWebsocketConsumer, ChannelFollowerMixin), {})
    with pytest.raises(ConfigurationError, match="sync ones"):
        type("Wrong", (ChannelFollowerMixin, WebsocketConsumer), {})
    with pytest.raises(ConfigurationError, match="sync ones"):
        type("Wrong", (SyncChannelFollowerMixin, AsyncWebsocketConsumer), {})
