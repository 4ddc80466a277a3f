"""The live link: what is confirmed, what is told when it breaks, and that it always comes back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from typing_extensions import override

from sse_bridge.backends.redis import RedisBackend
from sse_bridge.config import Settings
from sse_bridge.records.codec import Announcement
from tests.backends.sides import Recorder, Side
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.wait import astays, await_for


@pytest.fixture
def network(proxy: Callable[[int], Proxy], redis_server: RedisServer) -> Proxy:
    return proxy(redis_server.port)


async def test_a_killed_link_is_confirmed_again(side: Side, admin: redis.Redis) -> None:
    sink = Recorder()
    side.upstream(sink).subscribe(["a", "b"])
    await await_for(lambda: sink.confirmations("a") and sink.confirmations("b"))
    for round_ in range(1, 4):
        admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await await_for(lambda: sink.confirmations("a") > round_ and sink.confirmations("b") > round_)  # noqa: B023
        assert sink.losses("a") >= round_
        await side.publish("a", b"%d" % round_)
        await await_for(lambda: b"%d" % round_ in sink.data("a"))  # noqa: B023


async def test_one_connection_for_all_channels(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer]
) -> None:
    server = private_redis()
    side = make_side(server.url)
    sink = Recorder()
    upstream = side.upstream(sink)
    for start in range(0, 1000, 10):
        upstream.subscribe([f"c{number}" for number in range(start, start + 10)])
    await await_for(lambda: len(sink.told) == 1000)
    assert server.command("CLIENT", "LIST", "TYPE", "pubsub").count(b"id=") == 1
    assert sink.told == [("confirmed", f"c{number}") for number in range(1000)]


async def test_subscribing_while_redis_is_away(
    make_side: Callable[..., Side], network: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    network.refuse()
    side = make_side(network.redis_url)
    sink = Recorder()
    upstream = side.upstream(sink)
    with caplog.at_level(logging.WARNING):
        upstream.subscribe(["a", "b", "c"])
        upstream.unsubscribe(["b"])
        await await_for(lambda: sink.losses("a"))
        network.accept()
        await await_for(lambda: sink.confirmations("a") and sink.confirmations("c"))
    assert sink.confirmations("b") == 0
    assert len([record for record in caplog.records if "live link lost" in record.message]) == 1


async def test_a_silent_link_is_lost(make_side: Callable[..., Side], network: Proxy) -> None:
    side = make_side(network.redis_url, link_timeout_seconds=0.4)
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    network.hold()
    losses, confirmations = sink.losses("a"), sink.confirmations("a")
    await await_for(lambda: sink.losses("a") > losses)
    network.flow()
    await await_for(lambda: sink.confirmations("a") > confirmations)


async def test_an_idle_link_is_kept_alive_by_pings(make_side: Callable[..., Side], network: Proxy) -> None:
    side = make_side(network.redis_url, link_timeout_seconds=3)  # half of it for each answer
    sink, pings = Recorder(), []
    upstream: Any = side.upstream(sink)
    tick = upstream._link.tick

    def ticking(now: float) -> bytes:
        sent = tick(now)
        pings.extend([now] * (b"PING" in sent))
        return sent

    upstream._link.tick = ticking
    upstream.subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    accepted = network.accepted
    await await_for(lambda: len(pings) >= 2, what="a PING behind one that was answered")
    upstream.unsubscribe(["a"])  # without subscriptions Redis answers a PING in another form
    before = len(pings)
    await await_for(lambda: len(pings) >= before + 2)
    assert network.accepted == accepted
    assert not sink.losses("a")


async def test_a_link_cut_at_random_bytes_tells_each_loss(make_side: Callable[..., Side], network: Proxy) -> None:
    side = make_side(network.redis_url)
    publisher = make_side(f"redis://127.0.0.1:{network.target}/0")
    network.cut_randomly(7, 200, 800)
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    number = 0
    while network.cuts < 8:
        number += 1
        before = sink.confirmations("a")
        await publisher.publish("a", b"%d" % number)
        await await_for(lambda: b"%d" % number in sink.data("a") or sink.confirmations("a") > before)  # noqa: B023
    # what arrived is whole and in order; where something is missing the link was lost
    numbers = [int(data) for data in sink.data("a")]
    assert numbers == sorted(set(numbers))
    await await_for(lambda: sink.losses("a") >= 8)


async def test_all_that_one_read_brings_is_flushed_once(side: Side) -> None:
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    for _ in range(20):
        await side.publish("a", *[b"x"] * 50)
    await await_for(lambda: len(sink.entries) == 1000)
    await await_for(lambda: sink.flushes)
    assert sink.flushes <= 30


async def test_large_messages_arrive_whole(make_side: Callable[..., Side], redis_url: str) -> None:
    side = make_side(redis_url)
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    await side.publish("a", b"x" * 5_000_000, ephemeral=True)
    await side.publish("a", b"y" * 100_000)
    await await_for(lambda: len([1 for kind, _ in sink.told if kind == "announced"]) == 2)
    assert sink.data("a") == [b"x" * 5_000_000]
    last = sink.told[-1][1][1]
    assert (last.top, last.entries) == (1, [])


async def test_a_failing_sink_does_not_end_the_link(side: Side, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Recorder):
        def announced(self, channel: str, announcement: object) -> None:
            super().announced(channel, announcement)  # type: ignore[arg-type]
            if len(self.entries) == 1:
                raise RuntimeError("a bug")

    sink = Failing()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    await side.publish("a", b"1")
    await await_for(lambda: sink.confirmations("a") == 2)
    await side.publish("a", b"2")
    await await_for(lambda: sink.data("a") == [b"1", b"2"])
    assert sink.losses("a") == 1
    assert "a bug" in caplog.text


async def test_a_channel_that_redis_refuses_is_asked_for_again(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_bridge.backends.redis.retries.SHORTEST_PAUSE", 0.1)
    server = private_redis()
    side = make_side(server.url)
    sink = Recorder()
    server.command("ACL", "SETUSER", "default", "resetchannels", "&*{good}")
    side.upstream(sink).subscribe(["good", "bad", "good2"])
    await await_for(lambda: sink.losses("bad") > 1)
    assert (sink.confirmations("good"), sink.losses("good"), sink.confirmations("bad")) == (1, 0, 0)
    server.command("ACL", "SETUSER", "default", "allchannels")
    await await_for(lambda: sink.confirmations("bad") and sink.confirmations("good2"))


async def test_closing_from_the_sink(make_side: Callable[..., Side], redis_url: str) -> None:
    class Closing(Recorder):
        def confirmed(self, channel: str) -> None:
            super().confirmed(channel)
            upstream.close()

    side = make_side(redis_url)
    sink = Closing()
    upstream = side.upstream(sink)
    upstream.subscribe(["a"])
    await await_for(lambda: sink.told)
    await side.publish("a", b"1")
    await astays(lambda: sink.told == [("confirmed", "a")], 0.1)
    upstream.close()


async def test_closing_while_redis_is_away(make_side: Callable[..., Side], network: Proxy) -> None:
    network.refuse()
    side = make_side(network.redis_url)
    sink = Recorder()
    upstream = side.upstream(sink)
    unused = side.upstream(sink)
    upstream.subscribe(["a"])
    await await_for(lambda: sink.losses("a"))
    upstream.close()
    unused.close()
    told = len(sink.told)
    network.accept()
    await astays(lambda: len(sink.told) == told, 0.2)


def test_threads_end_with_the_upstream(redis_url: str, prefix: str) -> None:
    backend = RedisBackend(Settings(url=redis_url, prefix=prefix))
    before = set(threading.enumerate())
    upstream = backend.upstream(Recorder())
    assert set(threading.enumerate()) <= before  # those of other tests may end meanwhile
    upstream.subscribe(["a"])
    upstream.close()
    assert set(threading.enumerate()) <= before
    upstream.close()
    backend.close()


class Failing(Recorder):
    """Fails at the first message, as a bug of ours would."""

    failed = False

    @override
    def announced(self, channel: str, announcement: Announcement | None) -> None:
        if not self.failed:
            self.failed = True
            raise RuntimeError("a bug")
        super().announced(channel, announcement)


async def test_a_bug_does_not_end_the_link(side: Side, caplog: pytest.LogCaptureFixture) -> None:
    sink = Failing()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a") == 1)
    await side.publish("a", b"1")
    await await_for(lambda: sink.confirmations("a") == 2)
    assert sink.losses("a") == 1
    await side.publish("a", b"2")
    await await_for(lambda: sink.data("a") == [b"2"])
    assert [record for record in caplog.records if record.exc_info and "a bug" in str(record.exc_info[1])]
