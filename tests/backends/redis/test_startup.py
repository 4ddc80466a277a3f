"""What the first use of a prefix stores, and what every later one compares."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import pytest
import redis

from sse_bridge.backends.redis import RedisBackend
from sse_bridge.config import Settings
from sse_bridge.errors import BackendUnavailable, ConfigurationError
from tests.backends.sides import Side
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.wait import await_for


async def test_another_retention_is_refused_with_both_named(make_side: Callable[..., Side], redis_url: str) -> None:
    await make_side(redis_url, replay_size=100, replay_seconds=60.5).publish("a", b"1")
    await make_side(redis_url, replay_size=100, replay_seconds=60.5).publish("a", b"1")
    other = make_side(redis_url, replay_size=200, replay_seconds=60.5)
    for _ in range(2):
        with pytest.raises(
            ConfigurationError, match=r"replay_size=100, replay_seconds=60\.5.*replay_size=200"
        ) as error:
            await other.publish("a", b"2")
        assert "adopt_retention" in str(error.value)
    with pytest.raises(ConfigurationError):
        await other.page("a")


async def test_the_stored_retention_can_be_adopted(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str
) -> None:
    await make_side(redis_url, replay_size=16, replay_seconds=60).publish("a", b"1")
    side = make_side(redis_url, replay_size=1000, replay_seconds=7200, adopt_retention=True)
    for _ in range(50):
        await side.publish("a", b"x")
    assert admin.llen(f"{prefix}:0:{{a}}:l") <= 32
    assert admin.pttl(f"{prefix}:0:{{a}}:l") <= 67_500


async def test_who_adopts_decides_nothing_for_others(make_side: Callable[..., Side], redis_url: str) -> None:
    await make_side(redis_url, adopt_retention=True).publish("a", b"1")
    await make_side(redis_url, replay_size=16, replay_seconds=60).publish("a", b"2")
    with pytest.raises(ConfigurationError, match="replay_size=16"):
        await make_side(redis_url).publish("a", b"3")


async def test_records_of_another_version_are_refused(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str
) -> None:
    admin.hset(f"{prefix}:retention", mapping={"version": "2", "replay_size": 1, "replay_seconds": 1})
    with pytest.raises(ConfigurationError, match="version b'2'"):
        await make_side(redis_url).publish("a", b"1")


@pytest.mark.parametrize(("policy", "warned"), [("noeviction", False), ("volatile-lru", True)])
async def test_eviction_is_warned_of(
    make_side: Callable[..., Side],
    private_redis: Callable[..., RedisServer],
    caplog: pytest.LogCaptureFixture,
    policy: str,
    warned: bool,
) -> None:
    server = private_redis(config=[f"maxmemory-policy {policy}"])
    with caplog.at_level(logging.WARNING):
        await make_side(server.url).publish("a", b"1")
    assert ("maxmemory-policy volatile-lru" in caplog.text) == warned


async def test_the_least_permissions(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer], prefix: str
) -> None:
    rule = f"user app on >secret resetchannels ~{prefix}:* &{prefix}:* -@all +eval +evalsha +get +set +del +time +rpush +lrange"
    rule += " +lindex +llen +ltrim +pexpire +pttl +publish +subscribe +unsubscribe +hsetnx +hset +hmget +ping"
    server = private_redis(config=["user default off", rule])
    side = make_side(f"redis://app:secret@127.0.0.1:{server.port}/0")
    await side.publish("a", b"1", idempotency_key="k")
    assert (await side.page("a")).top == 1


async def test_a_look_that_is_cut_off_is_made_again(
    make_side: Callable[..., Side], proxy: Callable[[int], Proxy], redis_server: RedisServer
) -> None:
    network = proxy(redis_server.port)
    side = make_side(network.redis_url, publish_timeout_seconds=15)
    network.drop_reply(after=b"\r\nSUBSCRIBE\r\n")
    assert (await side.publish("a", b"1")).last == 1
    assert network.reply_dropped


async def test_who_is_first_together_fails_together(
    make_side: Callable[..., Side], proxy: Callable[[int], Proxy], redis_server: RedisServer
) -> None:
    network = proxy(redis_server.port)
    side = make_side(network.redis_url, publish_timeout_seconds=1)
    network.hold()
    began = time.monotonic()
    outcomes = await asyncio.gather(*[side.publish("a", b"%d" % i) for i in range(12)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BackendUnavailable] * 12
    assert time.monotonic() - began < 8  # one after the other it would be 12
    network.flow()
    assert (await side.publish("a", b"x")).last == 1


async def test_who_is_cancelled_leaves_the_first_look_to_others(
    redis_server: RedisServer, proxy: Callable[[int], Proxy], prefix: str
) -> None:
    network = proxy(redis_server.port)
    side = Side(RedisBackend(Settings(url=network.redis_url, prefix=prefix, publish_timeout_seconds=15)), "asyncio")
    network.hold()
    first, second = (asyncio.ensure_future(side.publish("a", data)) for data in (b"1", b"2"))
    await await_for(lambda: network.accepted)
    first.cancel()
    network.flow()
    assert (await second).last == 1
    assert first.cancelled()
    await side.close()
