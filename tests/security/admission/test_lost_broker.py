"""A broker that lost its data: what happens to revocations and leases that were stored there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
import redis

from sse_bridge import Bridge
from sse_bridge.admission import admissions
from sse_bridge.admission.contract import BEAT_SECONDS
from tests.security.admission.holders import hold
from tests.support.redis_server import RedisServer
from tests.support.wait import await_for

REFUSED = (429, "limit")
AGAIN_SECONDS = BEAT_SECONDS + 10  # the next sign of life, on a loaded machine


def flush(server: RedisServer) -> None:
    assert server.command("FLUSHALL") == b"+OK\r\n"


async def answer(bridge: Bridge, way: str = "asgi") -> int | str:
    async with hold(way, bridge, "ada") as held:
        return held.answer


@pytest.mark.parametrize("way", ["asgi", "sync_body"])
async def test_a_revocation_goes_with_the_data_once_the_list_is_read_again(
    private_redis: Callable[..., RedisServer], way: str
) -> None:
    """Until then a process that heard of it still refuses; one that never did cannot know."""
    server = private_redis()
    async with Bridge(server.url) as knows, Bridge(server.url) as fresh, hold(way, knows, "bob") as bob:
        await knows.arevoke(user="ada", seconds=600)
        await await_for(lambda: knows.revoked("ada", ("a",)))
        flush(server)
        assert await answer(fresh, way) == 200
        assert await answer(knows, way) == 403
        server.restart()  # its link is lost, and whoever comes waits until the list has been read again

        async def in_again() -> bool:
            return await answer(knows, way) == 200

        await await_for(in_again)
        assert not knows.revoked("ada", ("a",))
        async with hold(way, knows, "ada") as ada, hold(way, fresh, "ada") as other:
            assert [ada.answer, other.answer] == [200, 200]
            await knows.arevoke(user="ada", seconds=600)  # once more, and it holds everywhere
            assert [await ada.reason(), await other.reason()] == ["revoked", "revoked"]
        assert await answer(knows, way) == await answer(fresh, way) == 403
        assert bob.answer == 200


@pytest.mark.parametrize("way", ["asgi", "sync_body"])
async def test_counting_begins_anew_and_nobody_is_locked_out(
    private_redis: Callable[..., RedisServer], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admissions, "BEAT_SECONDS", 3600.0)  # the next one would count those again that run
    server = private_redis()
    async with Bridge(server.url, max_streams_per_user=2, over_limit="reject", linger_seconds=0.0) as bridge:
        async with AsyncExitStack() as stack:
            held = [await stack.enter_async_context(hold(way, bridge, "ada")) for _ in range(2)]
            assert await answer(bridge, way) in REFUSED
            hubs = [bridge.loop_hub(), bridge.thread_hub()]
            await await_for(lambda: any(hub.admission.state._beat_at for hub in hubs), what="its only sign of life")
            flush(server)
            held += [await stack.enter_async_context(hold(way, bridge, "ada")) for _ in range(2)]
            assert await answer(bridge, way) in REFUSED
            assert [each.answer for each in held] == [200] * 4
            await bridge.apublish("a", 1)
            assert [await each.frame() for each in held] == [("message", 1)] * 4

        async def room() -> bool:
            async with hold(way, bridge, "ada") as one, hold(way, bridge, "ada") as two:
                return [one.answer, two.answer, await answer(bridge, way) in REFUSED] == [200, 200, True]

        await await_for(room, what="as much room as before: what was not counted gives nothing back")


@pytest.mark.parametrize("way", ["asgi", "sync_body"])
@pytest.mark.parametrize("loss", ["FLUSHALL", "restart"])
async def test_streams_that_run_are_counted_again_at_the_next_sign_of_life(
    private_redis: Callable[..., RedisServer], way: str, loss: str
) -> None:
    server = private_redis()
    async with Bridge(server.url, max_streams_per_user=2, over_limit="reject") as bridge, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(hold(way, bridge, "ada"))
        if loss == "FLUSHALL":
            flush(server)
        else:
            server.restart()
        await await_for(lambda: leases(server) == 2, AGAIN_SECONDS, what="both to be counted again")
        assert await answer(bridge, way) in REFUSED


async def test_the_oldest_still_gives_way(private_redis: Callable[..., RedisServer]) -> None:
    server = private_redis()
    async with Bridge(server.url, max_streams_per_user=3) as bridge, AsyncExitStack() as stack:
        held = [await stack.enter_async_context(hold("asgi", bridge, "ada")) for _ in range(3)]
        flush(server)
        await await_for(lambda: leases(server) == 3, AGAIN_SECONDS, what="all to be counted again")
        newest = await stack.enter_async_context(hold("asgi", bridge, "ada"))
        assert newest.answer == 200
        assert await held[0].reason() == "replaced"
        await bridge.apublish("a", 1)
        assert [await each.frame() for each in (*held[1:], newest)] == [("message", 1)] * 3


async def test_in_memory_the_lost_log_of_a_channel_takes_neither_with_it() -> None:
    """One more channel than may be kept: the log of ``a`` makes room, and its revocation and lease stay."""
    async with Bridge("memory://", memory_max_channels=1, max_streams_per_user=1, over_limit="reject") as bridge:
        await bridge.apublish("a", 1)
        await bridge.arevoke(channel="a")
        async with hold("asgi", bridge, "ada", "b") as held:
            assert held.answer == 200
            await bridge.apublish("c", 1)
            assert await bridge.ahistory("a") == []
            async with hold("asgi", bridge, "ada", "b") as second, hold("asgi", bridge, "bob", "a") as revoked:
                assert [second.answer, revoked.answer] == [429, 403]


def leases(server: RedisServer) -> int:
    """How many streams of ada are counted."""
    with redis.Redis.from_url(server.url) as admin:
        return sum(admin.zcard(key) for key in admin.scan_iter(f"*{{.control}}:*{admissions.user_key('ada')}*"))
