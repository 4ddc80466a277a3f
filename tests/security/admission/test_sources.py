"""Responses made of an iterable: whose they are, and who may open and keep one, over both backends and all drivers."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.errors import NotAuthorized, SSEBridgeError
from sse_bridge.streams import Grant, StreamRequest, refusal, send_refusal, send_stream, stream_source
from tests.asgi.strict_server import Http
from tests.security.admission.holders import hold
from tests.security.admission.reading import ADA, Tokens, read
from tests.support.sse_parser import parse
from tests.support.wait import astays, await_for

DRIVERS = {
    "sync source, sync body": ("sync", "sync", {}),
    "sync source, its own thread": ("sync", "sync", {"own_thread": True}),
    "sync source, async body": ("sync", "async", {}),
    "async source, sync body": ("asynchronous", "sync", {}),
    "async source, async body": ("asynchronous", "async", {}),
}
drivers = pytest.mark.parametrize(("kind", "colour", "options"), DRIVERS.values(), ids=DRIVERS)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs("redis7"))])
def make_bridge(request: pytest.FixtureRequest) -> Callable[..., Bridge]:
    prefix = f"sources{os.urandom(4).hex()}"
    url = "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")
    return lambda **settings: Bridge(url, prefix=prefix, **settings)


def serving(bridge: Bridge, source: Any, **options: Any) -> Callable[..., Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            response = stream_source(bridge, source, StreamRequest(), grant=ADA, **options)
        except SSEBridgeError as error:
            await send_refusal(refusal(error), send)
        else:
            await send_stream(response, receive, send)

    return app


@drivers
async def test_a_running_source_ends_and_a_new_one_is_refused(
    make_bridge: Callable[..., Bridge], kind: str, colour: str, options: Any
) -> None:
    mine, others = Tokens(), Tokens()
    async with make_bridge() as bridge:
        ada = await read(bridge, getattr(mine, kind), ADA, colour, **options).opened()
        bob = await read(bridge, getattr(others, kind), Grant(user="bob"), colour, **options).opened()
        nobody = await read(bridge, getattr(others, kind), None, colour, **options).opened()
        began = time.monotonic()
        await bridge.arevoke(user="ada")
        assert await ada.reason() == "revoked"
        assert time.monotonic() - began < 10, "it is told at once, not with the next heartbeat, after 15 s"
        await await_for(lambda: mine.ended == 1)
        for each in (bob, nobody):
            seen = len(each.received)
            await each.next()
            assert len(each.received) > seen
        with pytest.raises(NotAuthorized):
            read(bridge, getattr(mine, kind), ADA, colour, **options)
        await bridge.aunrevoke(user="ada")

        async def back() -> bool:
            try:
                again = read(bridge, getattr(mine, kind), ADA, colour, **options)
            except NotAuthorized:
                return False
            await again.opened()
            again.body.close()
            return True

        await await_for(back)
        for each in (bob, nobody):
            each.body.close()
        await await_for(lambda: others.ended == 2 and mine.ended == mine.begun)


@drivers
async def test_a_process_that_has_heard_nothing_asks_before_the_source_begins(
    make_bridge: Callable[..., Bridge], kind: str, colour: str, options: Any
) -> None:
    tokens = Tokens()
    async with make_bridge() as bridge:
        await bridge.arevoke(user="ada")
        refused = read(bridge, getattr(tokens, kind), ADA, colour, **options)
        assert await refused.reason() == "revoked"
        assert [frame.event for frame in refused.frames] == ["stream.close"]
        assert tokens.begun == 0


async def test_where_the_status_can_still_be_said_it_is(make_bridge: Callable[..., Bridge]) -> None:
    async with make_bridge(max_streams_per_user=1, over_limit="retry") as bridge, hold("asgi", bridge, "ada"):
        async with Http(serving(bridge, ["x"], format="json_array")) as http:  # it cannot say `stream.close`
            assert await http.head() == 429
        async with Http(serving(bridge, ["x"])) as http:
            assert await http.head() == 200
            assert b'{"reason":"limit"}' in await http.read_all()
    async with make_bridge() as bridge:
        await bridge.arevoke(user="ada")  # which no hub has heard of
        async with Http(serving(bridge, ["x"])) as http:
            assert await http.head() == 403


@pytest.mark.parametrize("format", ["text", "json_array"])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_format_that_cannot_tell_is_cut(make_bridge: Callable[..., Bridge], colour: str, format: str) -> None:
    tokens = Tokens()
    async with make_bridge() as bridge:
        reading = read(bridge, tokens.asynchronous, ADA, colour, format=format)
        while reading.received.count(b"token") < 3:
            await reading.next()
        await bridge.arevoke(user="ada")
        with pytest.raises(ConnectionResetError, match="revoked"):
            while await reading.next():
                continue
        await await_for(lambda: tokens.ended == 1)


@drivers
async def test_the_newest_wins_and_the_replaced_one_stays_away(
    make_bridge: Callable[..., Bridge], kind: str, colour: str, options: Any
) -> None:
    tokens = Tokens()
    async with make_bridge(max_streams_per_user=1) as bridge:
        first = await read(bridge, getattr(tokens, kind), ADA, colour, **options).opened()
        second = await read(bridge, getattr(tokens, kind), ADA, colour, **options).opened()
        assert await first.reason() == "replaced"
        back = StreamRequest(last_event_id=first.frames[-1].id)
        assert stream_source(bridge, getattr(tokens, kind), back, grant=ADA).status == 204
        async with hold("asgi", bridge, "ada") as held:  # streams of channels are counted with them
            assert held.answer == 200
            assert await second.reason() == "replaced"
        third = await read(bridge, getattr(tokens, kind), ADA, colour, **options).opened()
        third.body.close()


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_no_room_until_one_ends(make_bridge: Callable[..., Bridge], colour: str) -> None:
    async with make_bridge(max_streams_per_user=1, over_limit="retry") as bridge:
        first = read(bridge, ["x"], ADA, colour)
        await first.next()
        assert await read(bridge, ["x"], ADA, colour).reason() == "limit"
        while await first.next():  # to its own end, which gives the place back
            continue

        async def room() -> bool:
            again = read(bridge, ["x"], ADA, colour)
            while await again.next():
                continue
            return again.frames[-1].event == "stream.end"

        await await_for(room)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_what_is_held_ends_with_the_stream_and_nobodys_stream_holds_nothing(
    make_bridge: Callable[..., Bridge], colour: str
) -> None:
    tokens = Tokens()
    async with make_bridge() as bridge:
        nobody = await read(bridge, tokens.asynchronous, None, colour).opened()
        assert bridge.hubs() == []
        ada = await read(bridge, tokens.asynchronous, ADA, colour).opened()
        forgotten = await read(bridge, tokens.asynchronous, ADA, colour).opened()
        [hub] = bridge.hubs()
        assert len(hub.admission.state.members) == 2
        await astays(lambda: hub._upstream is not None, 1.5)  # some ticks, though no channel is followed
        del forgotten  # by a server that never calls `close`
        gc.collect()
        await await_for(lambda: len(hub.admission.state.members) == 1)
        for each in (nobody, ada):
            each.body.close()
        await await_for(lambda: not hub.admission.state.members and hub._upstream is None)
        await await_for(lambda: tokens.ended == 3)
        assert len(bridge.streams) == 0


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_bridge_that_closes_ends_the_sources_of_users(colour: str) -> None:
    tokens = Tokens()
    bridge = Bridge("memory://", max_streams_per_user=5)
    ada = await read(bridge, tokens.asynchronous, ADA, colour).opened()
    nobody = await read(bridge, tokens.asynchronous, None, colour).opened()
    await bridge.aclose()
    assert await ada.reason() == "unavailable"
    assert await read(bridge, tokens.asynchronous, ADA, colour).reason() == "unavailable"
    await nobody.next()
    nobody.body.close()


async def test_a_source_that_is_revoked_on_its_way_in_does_not_stay(make_bridge: Callable[..., Bridge]) -> None:
    async with make_bridge() as bridge:
        for pause in range(10):
            user = f"user{pause}"
            reading = read(bridge, Tokens().asynchronous, Grant(user=user), "async")
            task = asyncio.ensure_future(reading.reason())
            for _ in range(pause * pause):
                await asyncio.sleep(0)
            await bridge.arevoke(user=user)
            assert await asyncio.wait_for(task, 60) == "revoked"


async def test_what_waits_behind_a_slow_client_is_not_shown_to_a_revoked_user() -> None:
    async with Bridge("memory://") as bridge:
        reading = await read(bridge, Tokens().asynchronous, ADA, "async").opened()
        await await_for(lambda: not reading.body._driver.pump.empty)  # the client takes nothing, and items wait
        await bridge.arevoke(user="ada")
        last = parse(await reading.next())
        assert [frame.event for frame in last] == ["stream.close"]
