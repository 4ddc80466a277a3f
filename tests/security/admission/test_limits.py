"""Who may hold one stream more: one body over both backends and every way of holding a stream."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.admission.contract import ALIVE_SECONDS, Beat, TakeLease
from sse_bridge.backends.memory import MemoryBackend
from sse_bridge.config import Settings
from sse_bridge.errors import ConfigurationError, EventTooLarge, InvalidChannel, TooManyChannels, TooManyStreams
from sse_bridge.streams import Grant, StreamRequest, stream_channels, stream_source
from sse_bridge_asgi import EventStreamApp
from tests.asgi.strict_server import WebSocket
from tests.security.admission.holders import WAYS, hold
from tests.support.redis_server import RedisServer
from tests.support.wait import astays, await_for


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs("redis7"))])
def make_bridge(request: pytest.FixtureRequest) -> Callable[..., Bridge]:
    prefix = f"limits{os.urandom(4).hex()}"
    url = "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")
    return lambda **settings: Bridge(url, prefix=prefix, linger_seconds=0.0, **settings)


async def nothing_held(bridge: Bridge) -> None:
    def held() -> int:
        return len(bridge.streams) + bridge.loop_hub().readers() + bridge.thread_hub().readers()

    await await_for(lambda: held() == 0)


@pytest.mark.parametrize("way", WAYS)
async def test_the_newest_wins(make_bridge: Callable[..., Bridge], way: str) -> None:
    async with make_bridge(max_streams_per_user=1) as bridge, AsyncExitStack() as stack:
        first = await stack.enter_async_context(hold(way, bridge, "ada"))
        other = await stack.enter_async_context(hold(way, bridge, "bob"))
        nobody = [await stack.enter_async_context(hold(way, bridge, None)) for _ in range(3)]
        newest = await stack.enter_async_context(hold(way, bridge, "ada", "b", "a"))
        assert [each.answer for each in (first, other, *nobody, newest)] == [200] * 6
        assert await first.reason() == "replaced"
        await bridge.apublish("a", 1)
        assert [(await each.frame())[1] for each in (other, *nobody, newest)] == [1] * 5
        await stack.aclose()
        await nothing_held(bridge)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("over_limit", ["reject", "retry"])
async def test_no_room_until_one_leaves(make_bridge: Callable[..., Bridge], way: str, over_limit: str) -> None:
    async with make_bridge(max_streams_per_user=2, over_limit=over_limit) as bridge:
        async with hold(way, bridge, "ada") as first:
            async with hold("asgi", bridge, "ada") as second, hold(way, bridge, "ada") as third:
                expected = 429 if (way, over_limit) == ("asgi", "reject") else "limit"
                assert [first.answer, second.answer, third.answer] == [200, 200, expected]

            async def room() -> bool:
                async with hold(way, bridge, "ada") as again:
                    return again.answer == 200

            await await_for(room)
            await bridge.apublish("a", 1)
            assert await first.frame() == ("message", 1)
        await nothing_held(bridge)


async def test_what_never_starts_and_what_is_cancelled_holds_nothing(make_bridge: Callable[..., Bridge]) -> None:
    async with make_bridge(max_streams_per_user=1, over_limit="reject") as bridge:
        for _ in range(3):
            response = stream_channels(bridge, "a", StreamRequest(), grant=Grant(user="ada"))
            assert response.bodies is not None
            body: Any = response.bodies.async_body()
            del body
        async with hold("asgi", bridge, "ada") as held:
            assert held.answer == 200
        await nothing_held(bridge)
        for pause in range(12):  # cancelled at every step of the way in
            response = stream_channels(bridge, "a", StreamRequest(), grant=Grant(user="ada"))
            assert response.bodies is not None
            body = response.bodies.async_body()
            task = asyncio.ensure_future(body.__anext__())
            for _ in range(pause * pause):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            del body, task
        gc.collect()

        async def room() -> bool:
            async with hold("asgi", bridge, "ada") as held:
                return held.answer == 200

        await await_for(room)
        await nothing_held(bridge)


async def test_a_websocket_counts_once_however_often_it_subscribes(make_bridge: Callable[..., Bridge]) -> None:
    async with make_bridge(max_streams_per_user=1, over_limit="reject") as bridge:
        app = EventStreamApp(bridge, authorize=lambda scope, channels: Grant(user="ada"))
        async with WebSocket(app) as client, WebSocket(app) as other:
            for name in ("a", "b", "c"):
                client.say(f'{{"type":"subscribe","channels":["{name}"]}}')
                assert '"stream.open"' in await client.take()
            other.say('{"type":"subscribe","channels":["a"]}')
            assert '"status":429' in (await other.take()).replace(" ", "")
            client.say('{"type":"unsubscribe","channels":["a","b","c"]}')
            assert '"stream.open"' in await client.take()

            async def room() -> bool:
                other.say('{"type":"subscribe","channels":["a"]}')
                return '"stream.open"' in await other.take()

            await await_for(room)
        await nothing_held(bridge)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("over_limit", ["replace_oldest", "reject", "retry"])
async def test_streams_per_process(way: str, over_limit: str) -> None:
    async with Bridge("memory://", linger_seconds=0.0, max_streams=2, over_limit=over_limit) as bridge:
        async with hold(way, bridge, "ada") as first, hold(way, bridge, None) as second:
            async with hold(way, bridge, "eve") as third:
                # nobody is thrown out by strangers, whatever the setting
                status = 429 if over_limit == "reject" and way != "websocket" else "limit"
                assert [first.answer, second.answer, third.answer] == [200, 200, status]
            if over_limit == "reject":
                with pytest.raises(TooManyStreams):
                    stream_source(bridge, ["x"], StreamRequest())
            await bridge.apublish("a", 1)
            assert [await first.frame(), await second.frame()] == [("message", 1)] * 2
        async with hold(way, bridge, "eve") as third:
            assert third.answer == 200
        await nothing_held(bridge)


def test_dead_owners_have_no_leases() -> None:
    """The time that a lease lives without a sign of life; a killed server is in test_limits_processes."""
    now = 0.0
    backend = MemoryBackend(Settings(), monotonic=lambda: now)

    def take(owner: str, number: int, limit: int = 1) -> bool:
        return bool(backend.control(TakeLease("u", owner, f"{owner}.{number}", limit, False, 60)))

    assert take("one", 1)
    assert take("one", 1)  # a retry of the same
    assert not take("two", 1)
    now = ALIVE_SECONDS - 1
    assert backend.control(Beat("one"))
    now += ALIVE_SECONDS - 1
    assert not take("two", 1)
    now += 2
    assert take("two", 1)
    assert not backend.control(Beat("one"))
    assert take("one", 1, limit=0)
    assert backend.control(Beat("one", (("u", "one.1"),)))
    assert not take("one", 2)


@pytest.mark.needs("redis7")
async def test_redis_that_evicts_is_refused(private_redis: Callable[..., RedisServer]) -> None:
    server = private_redis(config=["maxmemory-policy allkeys-lru"])
    async with Bridge(server.url, max_streams_per_user=1) as bridge:
        with pytest.raises(ConfigurationError, match=r"noeviction.*'allkeys-lru'"):
            await bridge.arevoke(user="ada")
        with pytest.raises(ConfigurationError, match="noeviction"):
            await asyncio.to_thread(bridge.revoke, user="ada")
        for way in ("async_body", "sync_body"):
            with pytest.raises(ConfigurationError, match="noeviction"):
                async with hold(way, bridge, "ada"):
                    raise AssertionError("a stream that cannot be counted has begun")
        async with hold("asgi", bridge, "ada") as held:
            assert held.answer == 500
        async with hold("asgi", bridge, None) as held:
            assert held.answer == 200
    async with (
        Bridge(server.url) as bridge,
        hold("asgi", bridge, "ada") as held,
    ):  # nothing to count: a warning is enough
        assert held.answer == 200


def test_a_backend_without_the_contract_says_so() -> None:
    inner = MemoryBackend(Settings())

    class Plain:
        name = "plain"
        append, append_many, read, upstream, close = (
            inner.append, inner.append_many, inner.read, inner.upstream, inner.close,
        )  # fmt: skip

    with pytest.raises(ConfigurationError, match="max_streams_per_user=3 needs a backend that keeps leases"):
        Bridge(backend=Plain(), max_streams_per_user=3)
    with Bridge(backend=Plain()) as bridge:
        with pytest.raises(ConfigurationError, match="'plain' cannot revoke"):
            bridge.revoke(user="ada")
        response = stream_channels(bridge, "a", StreamRequest(), grant=Grant(user="ada"))
        assert response.bodies is not None
        body = response.bodies.sync_body()
        assert b"stream.open" in next(body)
        body.close()


async def test_what_a_stream_and_an_event_may_be() -> None:
    async with Bridge("memory://", max_channels=2, max_event_bytes=100) as bridge:
        with pytest.raises(TooManyChannels):
            stream_channels(bridge, ["a", "b", "c"], StreamRequest())
        for name in ("", "a" * 201, "a/b", "a{b}", ".control", "a\n", "ä"):
            with pytest.raises(InvalidChannel):
                stream_channels(bridge, [name], StreamRequest())
            with pytest.raises(InvalidChannel):
                await bridge.apublish(name, 1)
            with pytest.raises(InvalidChannel):
                await bridge.arevoke(channel=name)
        with pytest.raises(EventTooLarge):
            await bridge.apublish("a", "x" * 99)


async def test_websocket_messages_by_the_settings() -> None:
    settings: dict[str, Any] = {"max_websocket_message_bytes": 2000, "max_websocket_messages_per_second": 1}
    async with Bridge("memory://", linger_seconds=0.0, **settings) as bridge:
        app = EventStreamApp(bridge, authorize=lambda scope, channels: True)
        async with WebSocket(app) as client:
            client.say('{"type":"ping","x":"' + "y" * 1900 + '"}')
            assert "stream.pong" in await client.take()
            client.say("x" * 2001)
            assert "at most 2000 bytes" in await client.take()
            await client.ended()
            assert client.closed == 4413
        async with WebSocket(app) as client:
            for _ in range(50):
                client.say('{"type":"ping"}')
            await client.ended()
            assert client.closed == 4429
            assert client.messages.qsize() <= 7


async def test_a_replaced_client_stays_away_and_its_id_is_good_for_a_new_one(
    make_bridge: Callable[..., Bridge],
) -> None:
    async with make_bridge(max_streams_per_user=1) as bridge:
        position = await bridge.apublish("a", 1)
        await bridge.apublish("a", 2)
        marked = f"{position}.replaced"
        grant = Grant(user="ada")
        back = StreamRequest.from_http({"last-event-id": marked})
        assert stream_channels(bridge, "a", back, grant=grant).status == 204
        again = StreamRequest.from_http({}, f"after={marked}")
        async with hold("async_body", bridge, "ada", last_event_id=again.last_event_id) as held:
            assert await held.frame() == ("message", 2)
            await astays(lambda: held.answer == 200, 0.1)
