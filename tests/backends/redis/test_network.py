"""Publishing and reading over a network that loses, cuts, holds and refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from sse_bridge.backends.redis import RedisBackend
from sse_bridge.backends.redis.connecting import abort_on_close
from sse_bridge.config import Settings
from sse_bridge.errors import BackendError, BackendUnavailable, ConfigurationError, PublishUncertain
from tests.backends.sides import Recorder, Side, append_each, batch, datas, published_again
from tests.support.process import free_port
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.wait import astays, await_for


@pytest.fixture
def network(proxy: Callable[[int], Proxy], redis_server: RedisServer) -> Proxy:
    return proxy(redis_server.port)


@pytest.fixture
def far_side(make_side: Callable[..., Side], network: Proxy) -> Side:
    return make_side(network.redis_url, publish_timeout_seconds=3, link_timeout_seconds=0.6)


async def grow_old(admin: redis.Redis, prefix: str, channel: str) -> None:
    """A channel whose life began long before the test's publishes, as most have."""
    key = f"{prefix}:0:{{{channel}}}"
    words = admin.get(key).split()  # type: ignore[union-attr]
    words[1] = b"%d" % (int(words[1]) - 100)
    admin.set(key, b" ".join(words), keepttl=True)


async def test_a_lost_reply_publishes_once(far_side: Side, network: Proxy) -> None:
    await far_side.publish("a", b"1")
    network.drop_reply(after=b"order.paid")
    appended = await far_side.publish("a", b"2")
    assert network.reply_dropped
    assert (appended.last, appended.recognised) == (2, True)
    assert datas(await far_side.page("a")) == [b"1", b"2"]


async def test_a_lost_reply_to_a_batch_or_a_key(far_side: Side, network: Proxy) -> None:
    await far_side.publish("a", b"1")
    for options in ({}, {"idempotency_key": "k"}, {"close": True}):
        data = (b"x",) if options else (b"x", b"y")
        network.drop_reply(after=b"order.paid")
        assert (await far_side.publish("a", *data, **options)).recognised
    assert datas(await far_side.page("a")) == [b"1", b"x", b"y", b"x", b"x"]


async def test_a_request_that_never_arrived_is_sent_again(
    far_side: Side, network: Proxy, admin: redis.Redis, prefix: str
) -> None:
    await far_side.publish("a", b"0")
    await grow_old(admin, prefix, "a")
    network.cut()
    appended = await far_side.publish("a", b"1")
    assert appended.last == 2
    assert datas(await far_side.page("a")) == [b"0", b"1"]


async def test_a_reply_that_does_not_come_is_looked_up(
    far_side: Side, network: Proxy, admin: redis.Redis, prefix: str
) -> None:
    await far_side.publish("a", b"0")
    await grow_old(admin, prefix, "a")
    network.hold()
    publishing = asyncio.ensure_future(far_side.publish("a", b"1"))
    accepted = network.accepted
    await await_for(lambda: network.accepted > accepted or publishing.done())
    network.flow()
    appended = await publishing
    assert datas(await far_side.page("a")) == [b"0", b"1"]
    assert appended.last == 2


async def test_redis_comes_back_before_the_deadline(far_side: Side, network: Proxy) -> None:
    await far_side.page("a")
    network.refuse()
    publishing = asyncio.ensure_future(far_side.publish("b", b"1"))
    reading = asyncio.ensure_future(far_side.page("a"))
    await astays(lambda: not publishing.done() and not reading.done(), 0.2)
    network.accept()
    await publishing
    await reading


async def test_redis_stays_away(make_side: Callable[..., Side], network: Proxy) -> None:
    side = make_side(network.redis_url, publish_timeout_seconds=2)
    await side.page("a")
    network.refuse()
    began = time.monotonic()
    with pytest.raises(BackendUnavailable, match="'a'"):
        await side.publish("a", b"1")
    with pytest.raises(BackendUnavailable):
        await side.page("a")
    assert time.monotonic() - began < 60
    network.accept()
    assert (await published_again(side, "a", b"2")).last == 1


async def test_an_answer_that_never_comes_is_uncertain(make_side: Callable[..., Side], network: Proxy) -> None:
    side = make_side(network.redis_url, publish_timeout_seconds=2)  # a third of it is the limit of each answer
    await side.publish("a", b"1")
    network.hold()
    with pytest.raises(PublishUncertain, match="'a'"):
        await side.publish("a", b"2")
    with pytest.raises(BackendUnavailable):
        await side.page("a")
    network.flow()


async def test_who_waited_in_the_queue_does_not_wait_the_deadline_twice(network: Proxy, prefix: str) -> None:
    side = Side(RedisBackend(Settings(url=network.redis_url, prefix=prefix, publish_timeout_seconds=9)), "asyncio")
    await side.publish("a", b"0")
    network.hold()

    async def given_up(data: bytes) -> float:
        with pytest.raises((BackendUnavailable, PublishUncertain)) as told:
            await side.publish("a", data)
        assert data == b"2" or isinstance(told.value, PublishUncertain)
        return time.monotonic()

    first = asyncio.ensure_future(given_up(b"1"))
    await astays(lambda: not first.done(), 0.2)
    second = await given_up(b"2")
    assert second - await first < 7  # a third of its 9 s after the first one's end; not all of it again
    network.flow()
    await side.close()


async def test_an_ephemeral_event_is_not_sent_twice(far_side: Side, network: Proxy) -> None:
    sink = Recorder()
    far_side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    await far_side.publish("a", b"1")
    network.drop_reply(after=b"order.paid")
    with pytest.raises(PublishUncertain):
        await far_side.publish("a", b"token", ephemeral=True)
    await far_side.publish("a", b"2")
    await await_for(lambda: sink.data("a")[-1:] == [b"2"] or sink.confirmations("a") > 1)
    assert sink.data("a").count(b"token") <= 1


async def test_nothing_listens_there(make_side: Callable[..., Side]) -> None:
    side = make_side(f"redis://127.0.0.1:{free_port()}/0", publish_timeout_seconds=1)
    with pytest.raises(BackendUnavailable, match="retention"):
        await side.publish("a", b"1")


async def test_a_first_use_that_is_cut_off_is_tried_again(far_side: Side, network: Proxy) -> None:
    network.drop_reply(after=b"SUBSCRIBE")  # of the message to ourselves
    assert (await far_side.publish("a", b"1")).last == 1
    assert network.reply_dropped


async def test_all_keep_the_deadline_of_a_first_use(make_side: Callable[..., Side]) -> None:
    """One of them looks at the settings while the others wait; they must not do so one after the other."""
    side = make_side(f"redis://127.0.0.1:{free_port()}/0", publish_timeout_seconds=0.5)
    began = time.monotonic()
    outcomes = await asyncio.gather(*[side.publish("a", b"1") for _ in range(80)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BackendUnavailable] * 80
    assert time.monotonic() - began < 30  # 40 s, one after the other


@pytest.mark.parametrize("login", ["", "app:wrong@", "other:secret@"])
async def test_a_wrong_password_is_told_at_once(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer], login: str
) -> None:
    server = private_redis(config=["user default off", "user app on >secret ~* &* +@all"])
    side = make_side(f"redis://{login}127.0.0.1:{server.port}/0", publish_timeout_seconds=60)
    began = time.monotonic()
    with pytest.raises(BackendError, match="password"):
        await side.publish("a", b"1")
    assert time.monotonic() - began < 40
    right = make_side(f"redis://app:secret@127.0.0.1:{server.port}/0")
    assert (await right.publish("a", b"1")).last == 1


async def test_an_acl_without_channels_is_told_at_the_start(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer]
) -> None:
    server = private_redis(config=["user default off", "user app on >secret ~* resetchannels +@all"])
    side = make_side(f"redis://app:secret@127.0.0.1:{server.port}/0")
    with pytest.raises(ConfigurationError, match=r"&t.*:0:"):
        await side.publish("a", b"1")


async def test_an_announcement_that_is_refused_is_no_error(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer]
) -> None:
    server = private_redis()
    side = make_side(server.url)
    await side.publish("a", b"1")
    server.command("ACL", "SETUSER", "default", "resetchannels")
    appended = await side.publish("a", b"2")
    assert (appended.last, appended.announced, appended.recognised) == (2, False, False)
    assert datas(await side.page("a")) == [b"1", b"2"]


async def test_out_of_memory_is_told_at_once(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = private_redis()
    side = make_side(server.url)
    await side.publish("a", b"1")
    server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(BackendError, match="maxmemory") as refused:
        await side.publish("a", b"2")
    assert not isinstance(refused.value, (BackendUnavailable, PublishUncertain))
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert (await side.publish("a", b"3")).last == 2


async def test_a_demoted_server_is_tried_again(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer]
) -> None:
    server = private_redis()
    side = make_side(server.url, publish_timeout_seconds=2)
    await side.publish("a", b"1")
    server.command("REPLICAOF", "127.0.0.1", free_port())
    with pytest.raises(BackendUnavailable, match="READONLY"):
        await side.publish("a", b"2")
    server.command("REPLICAOF", "NO", "ONE")
    assert (await published_again(side, "a", b"2")).last == 2


async def test_a_cancelled_append_mixes_up_no_replies(network: Proxy, prefix: str) -> None:
    side = Side(RedisBackend(Settings(url=network.redis_url, prefix=prefix)), "asyncio")
    await side.publish("a", b"0")
    network.delay_seconds = 0.01
    for number in range(30):
        tasks = [asyncio.ensure_future(side.publish(f"c{i}", b"%d-%d" % (number, i))) for i in range(5)]
        asyncio.get_running_loop().call_later(0.001 * (number % 15), tasks[number % 5].cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for i, result in enumerate(results):
            if i != number % 5:
                assert not isinstance(result, BaseException)
                page = await side.page(f"c{i}", epoch=result.epoch, offset=result.last - 1, limit=1)
                assert (datas(page), page.entries[0].check) == ([b"%d-%d" % (number, i)], result.check)
    await side.close()


async def test_cutting_at_random_bytes_publishes_each_once(
    make_side: Callable[..., Side], network: Proxy, admin: redis.Redis, prefix: str
) -> None:
    """To one channel by four publishers, and to eight channels at once."""
    side = make_side(network.redis_url, publish_timeout_seconds=10, replay_size=2000)
    spread = [f"s{number}" for number in range(8)]
    await append_each(side, [batch(name, b"0") for name in ("a", *spread)])
    for name in ("a", *spread):
        await grow_old(admin, prefix, name)
    network.cut_randomly(1, 190, 900)  # a handshake takes about 180, an append 230
    network.cut()
    sent = {b"0"}

    async def publish(name: int) -> None:
        for number in range(10):
            data = b"%d-%d" % (name, number)
            sent.add(data)
            await side.append(batch("a", data))

    rounds = 0
    for round_ in range(60):
        rounds += 1
        await asyncio.gather(*[publish(4 * round_ + name) for name in range(4)])
        appended = await append_each(side, [batch(name, b"%d" % rounds) for name in spread])
        assert [one.last for one in appended] == [rounds + 1] * len(spread)
        if network.cuts > 12:
            break
    assert network.cuts > 12
    network.stop_cutting()
    stored = datas(await side.page("a", limit=2000))
    assert (len(stored), set(stored)) == (len(sent), sent)
    for name in spread:
        assert datas(await side.page(name, limit=100)) == [b"%d" % number for number in range(rounds + 1)]


def test_an_odd_socket_is_left_alone() -> None:
    class Odd:
        def setsockopt(self, *_: Any) -> None:
            raise OSError

    abort_on_close(Odd())
