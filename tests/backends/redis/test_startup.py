"""What the first use in a process looks at, and who waits for it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable

import pytest

from sse_bridge.backends.redis import RedisBackend
from sse_bridge.config import Settings
from sse_bridge.errors import BackendUnavailable
from tests.backends.sides import Recorder, Side, published_again
from tests.support.process import ROOT
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.wait import await_for


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


async def test_the_least_permissions_are_those_that_the_docs_name(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer]
) -> None:
    [rule] = re.findall(r"^user app .*$", (ROOT / "docs/deploy.md").read_text("utf-8"), re.MULTILINE)
    server = private_redis(config=["user default off", rule])
    side = make_side(f"redis://app:secret@127.0.0.1:{server.port}/0", prefix="sse_bridge", replay_size=16)
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    for options in ({"idempotency_key": "k"}, {"ephemeral": True}, {}, {}):
        await side.publish("a", b"1", **options)
    await side.publish("a", *[b"1"] * 40)
    await side.publish("a", b"end", close=True)
    assert (await side.page("a")).top == 44
    await await_for(lambda: len(sink.entries) == 45)
    assert side.backend.change_retention(20, 60.0).generation == 2
    box = side.backend.letter_box
    box.put([b"letter"])
    box.remove(box.look(1))
    assert box.look(1) == []


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
    outcomes = await asyncio.gather(*[side.publish("a", b"%d" % i) for i in range(40)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BackendUnavailable] * 40
    assert time.monotonic() - began < 30  # one after the other it would be 40
    network.flow()
    assert (await published_again(side, "a", b"x")).last == 1


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
