"""Revoking: one body over both backends and every way of holding a stream; real processes are in a file of their own."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis

from sse_bridge import Bridge
from sse_bridge.errors import AsyncContextError, InvalidInput
from sse_bridge.streams import Grant, StreamRequest, stream_channels
from tests.security.admission.holders import WAYS, hold
from tests.streams.test_pushing import Client
from tests.support.process import ROOT
from tests.support.redis_group import RedisCluster
from tests.support.redis_server import RedisServer
from tests.support.wait import await_for


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs("redis7"))])
def make_bridge(request: pytest.FixtureRequest) -> Callable[..., Bridge]:
    prefix = f"revoke{os.urandom(4).hex()}"
    url = "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")
    return lambda **settings: Bridge(url, prefix=prefix, **settings)


@pytest.mark.parametrize("way", WAYS)
async def test_running_streams_end_and_new_ones_are_refused(make_bridge: Callable[..., Bridge], way: str) -> None:
    async with make_bridge() as bridge, AsyncExitStack() as stack:
        await bridge.apublish("a", "old")
        ada, both, bob, nobody = [
            await stack.enter_async_context(hold(way, bridge, user, *channels))
            for user, channels in (("ada", ()), ("ada", ("b", "c")), ("bob", ()), (None, ()))
        ]
        await bridge.arevoke(user="ada", channel="b")
        assert await both.reason() == "revoked"
        await asyncio.to_thread(bridge.revoke, user="ada", seconds=60)
        assert await ada.reason() == "revoked"
        for user, channels in (("ada", ()), ("ada", ("b",)), ("ada", ("d", "e"))):
            async with hold(way, bridge, user, *channels) as held:
                assert held.answer == 403
        await bridge.apublish("a", 1)
        assert [await each.frame() for each in (bob, nobody)] == [("message", 1)] * 2
        await bridge.arevoke(channel="a")
        assert [await each.reason() for each in (bob, nobody)] == ["revoked"] * 2
        async with hold(way, bridge, None) as held:
            assert held.answer == 403
        await bridge.aunrevoke(user="ada")
        await bridge.aunrevoke(channel="a")

        async def back() -> bool:
            async with hold(way, bridge, "ada") as held:
                return held.answer == 200

        await await_for(back)
        async with hold(way, bridge, "ada", "b") as held:  # that one is another matter, and still in force
            assert held.answer == 403


def test_what_the_hub_of_a_closed_loop_knows_locks_nobody_out() -> None:
    """Nothing tells that hub that the revocation was taken back, and it stays until another loop asks for its own."""
    bridge = Bridge("memory://")

    async def revoked() -> None:
        client = await Client(bridge, "a", grant=Grant(user="ann")).opened()
        await bridge.arevoke(user="ann", seconds=600)
        await asyncio.wait_for(client.task, 60)
        assert bridge.revoked("ann", ("a",))

    asyncio.run(revoked())
    bridge.unrevoke(user="ann")
    assert not bridge.revoked("ann", ("a",))


@pytest.mark.parametrize("way", WAYS)
async def test_a_process_that_has_heard_nothing_asks_before_it_opens(
    make_bridge: Callable[..., Bridge], way: str
) -> None:
    async with make_bridge() as bridge:
        await bridge.apublish("a", "secret")
        await bridge.arevoke(user="ada")
        async with hold(way, bridge, "ada") as held:
            assert held.answer == (403 if way == "asgi" else "revoked")
        async with hold(way, bridge, "bob") as held:
            assert held.answer == 200


async def test_a_stream_that_is_revoked_on_its_way_in_does_not_stay(make_bridge: Callable[..., Bridge]) -> None:
    async with make_bridge() as bridge:
        for pause in range(10):
            user = f"user{pause}"
            response = stream_channels(bridge, "a", StreamRequest(), grant=Grant(user=user))
            assert response.bodies is not None
            body: Any = response.bodies.async_body()

            async def read(body: Any = body) -> bytes:
                return b"".join([piece async for piece in body])

            task = asyncio.ensure_future(read())
            for _ in range(pause * pause):
                await asyncio.sleep(0)
            await bridge.arevoke(user=user)
            assert b'"revoked"' in await asyncio.wait_for(task, 60)


async def test_iterators_of_server_code_are_nobodys_to_revoke(make_bridge: Callable[..., Bridge]) -> None:
    async with make_bridge() as bridge, bridge.asubscribe("a") as stream:
        await stream.next(timeout=0.1)
        await bridge.arevoke(channel="a")
        await bridge.apublish("a", 1)
        event = await stream.next(timeout=60)
        assert event is not None
        assert event.data == 1


async def test_what_breaks_a_rule(make_bridge: Callable[..., Bridge]) -> None:
    async with make_bridge() as bridge:
        for arguments in ({}, {"user": ""}, {"user": 7}, {"user": "u" * 10_001}, {"channel": "a b"}, {"channel": ""},
                          {"user": "a", "seconds": -1}, {"user": "a", "seconds": float("nan")},
                          {"user": "a", "seconds": float("inf")}):  # fmt: skip
            with pytest.raises(InvalidInput):
                await bridge.arevoke(**arguments)  # type: ignore[arg-type]
        with pytest.raises(AsyncContextError, match="arevoke"):
            bridge.revoke(user="a")
        for user in ("\ud800", "a\r\nb", "*", "{x}", "ü" * 10_000, "\0"):  # any text names a user
            await bridge.arevoke(user=user)
            async with hold("async_body", bridge, user) as held:
                if held.answer == 200:  # the news was still on its way
                    assert await held.reason() == "revoked"
                else:
                    assert held.answer in (403, "revoked")


@pytest.mark.needs("redis7")
async def test_the_permissions_that_the_docs_name(private_redis: Callable[..., RedisServer]) -> None:
    [named] = re.findall(r"needs\n`(\+time [^`]*)`", (ROOT / "docs/security.md").read_text("utf-8"))
    [rule] = re.findall(r"^user app .*$", (ROOT / "docs/deploy.md").read_text("utf-8"), re.MULTILINE)
    server = private_redis(config=["user default off", f"{rule} {named}"])
    async with (
        Bridge(f"redis://app:secret@127.0.0.1:{server.port}/0", max_streams_per_user=1) as bridge,
        hold("asgi", bridge, "ada") as first,
        hold("sync_body", bridge, "ada") as second,
    ):
        assert (first.answer, second.answer) == (200, 200)
        assert await first.reason() == "replaced"
        await bridge.arevoke(user="ada")
        assert await second.reason() == "revoked"


@pytest.mark.needs("redis7")
async def test_on_a_cluster() -> None:
    with RedisCluster() as cluster:
        async with Bridge(f"redis+cluster://127.0.0.1:{cluster.ports[0]}", max_streams_per_user=1) as bridge:
            async with hold("asgi", bridge, "ada") as first, hold("sync_body", bridge, "ada", "b", "c") as second:
                assert (first.answer, second.answer) == (200, 200)
                assert await first.reason() == "replaced"
                await bridge.arevoke(user="ada")
                assert await second.reason() == "revoked"
            async with hold("asgi", bridge, "ada") as third:
                assert third.answer == 403


@pytest.mark.needs("redis7")
async def test_redis_holds_no_name_and_forgets_in_time(redis_url: str) -> None:
    prefix = f"revoke{os.urandom(4).hex()}"
    async with Bridge(redis_url, prefix=prefix, max_streams_per_user=3) as bridge:
        async with hold("asgi", bridge, "ada lovelace"):
            await bridge.arevoke(user="bob bobson", seconds=3)
            with redis.Redis.from_url(redis_url) as admin:
                names = [key for key in admin.scan_iter(f"{prefix}:*") if b".control" in key]
                assert len(names) == 3
                assert all(admin.pttl(key) > 0 for key in names)
                values = [str(admin.zrange(key, 0, -1)) for key in names]
                assert not [text for text in (*map(repr, names), *values) if "lovelace" in text or "bobson" in text]
                await await_for(lambda: not admin.exists(f"{prefix}:0:{{.control}}:v"))
        await await_for(lambda: not bridge.revoked("bob bobson", ("a",)))
