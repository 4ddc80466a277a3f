"""A cluster of three on this machine: every node carries channels, and slots move while all is in use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from sse_bridge.backends.redis import RedisBackend
from sse_bridge.backends.redis.routes import slot_of
from sse_bridge.config import Settings
from sse_bridge.errors import BackendUnavailable, ConfigurationError, PublishUncertain
from sse_bridge.records.continuity import ReadRequest
from tests.backends.sides import Recorder, Side, datas, offsets, published_again
from tests.support.redis_group import RedisCluster
from tests.support.requires import require
from tests.support.wait import astays, await_for

CHANNELS = [f"c{number}" for number in range(30)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    require("redis7")
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def url(cluster: RedisCluster) -> str:
    # the first address is nobody's: any node may be asked
    return "redis+cluster://127.0.0.1:1," + ",".join(f"127.0.0.1:{port}" for port in cluster.ports)


def move(cluster: RedisCluster, slot: int, target: int) -> None:
    """Gives a slot to another node, keys included, as a resharding does."""
    source = cluster.owner(slot)
    old, new = cluster.servers[source], cluster.servers[target]
    assert new.command("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.node_id(source)) == b"+OK\r\n"
    assert old.command("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.node_id(target)) == b"+OK\r\n"
    finish_move(cluster, slot, source, target)


def finish_move(cluster: RedisCluster, slot: int, source: int, target: int) -> None:
    old, new = cluster.servers[source], cluster.servers[target]
    while True:
        keys = [
            line for line in old.command("CLUSTER", "GETKEYSINSLOT", slot, 100).decode().split("\r\n") if ":{" in line
        ]
        if not keys:
            break
        assert b"OK" in old.command("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", *keys)
    for server in (new, old, *cluster.servers):
        server.command("CLUSTER", "SETSLOT", slot, "NODE", cluster.node_id(target))


async def test_all_nodes_carry_channels(cluster: RedisCluster, url: str, make_side: Callable[..., Side]) -> None:
    side = make_side(url)
    assert side.backend.name == "cluster"
    assert {cluster.owner(slot_of(channel)) for channel in CHANNELS} == {0, 1, 2}
    sink = Recorder()
    upstream = side.upstream(sink)
    upstream.subscribe(CHANNELS)
    await await_for(lambda: all(sink.confirmations(channel) == 1 for channel in CHANNELS))
    for round_ in range(3):
        for channel in CHANNELS:
            appended = await side.publish(channel, b"%d" % round_)
            assert (appended.last, appended.announced) == (round_ + 1, True)
    await await_for(lambda: len(sink.entries) == 90)
    for channel in CHANNELS:
        assert sink.data(channel) == [b"0", b"1", b"2"]
    pages = await side.read(*[ReadRequest(channel) for channel in CHANNELS])
    assert all(datas(page) == [b"0", b"1", b"2"] for page in pages)
    for server in cluster.servers:
        assert server.command("CLIENT", "LIST", "TYPE", "pubsub").count(b"ssub=") == 1
    upstream.unsubscribe(CHANNELS[1:])
    await await_for(
        lambda: (
            sum(server.command("CLIENT", "LIST", "TYPE", "pubsub").count(b"ssub=") for server in cluster.servers) == 1
        )
    )
    await side.publish(CHANNELS[0], b"3")
    await await_for(lambda: sink.data(CHANNELS[0])[-1] == b"3")
    assert len(sink.entries) == 91


async def test_the_backend_knows_other_databases_do_not_exist() -> None:
    from sse_bridge.backends.redis.urls import parse

    with pytest.raises(ConfigurationError, match="database 0"):
        parse("redis+cluster://a:1/2")


def test_dead_letters_have_a_slot_too(url: str, prefix: str) -> None:
    backend = RedisBackend(Settings(url=url, prefix=prefix))
    box = backend.letter_box
    box.put([b"one", b"two"])
    assert box.look(10) == [b"one", b"two"]
    box.remove([b"one"])
    assert box.look(10) == [b"two"]
    backend.close()


async def test_a_slot_moves_under_readers_and_publishers(
    cluster: RedisCluster, url: str, make_side: Callable[..., Side], prefix: str
) -> None:
    side = make_side(url)
    channel = "moving"
    slot = slot_of(channel)
    sink = Recorder()
    side.upstream(sink).subscribe([channel, "other"])
    await await_for(lambda: sink.confirmations(channel) and sink.confirmations("other"))
    for number in range(10):
        await side.publish(channel, b"%d" % number)
    confirmed = 1
    for _ in range(2):
        await asyncio.to_thread(move, cluster, slot, (cluster.owner(slot) + 1) % 3)
        confirmed += 1
        await await_for(lambda: sink.confirmations(channel) >= confirmed)  # noqa: B023
        assert sink.losses(channel) >= confirmed - 1
        appended = await side.publish(channel, b"after")
        assert appended.last == 9 + confirmed
        await await_for(lambda: sink.offsets(channel)[-1] == 9 + confirmed)  # noqa: B023
    assert offsets(await side.page(channel)) == list(range(1, 13))
    assert sink.losses("other") == 0


async def test_publishing_while_a_slot_is_between_two_nodes(
    cluster: RedisCluster, url: str, make_side: Callable[..., Side], prefix: str
) -> None:
    side = make_side(url)
    channel = "between"
    slot = slot_of(channel)
    source = cluster.owner(slot)
    target = (source + 1) % 3
    await side.publish(channel, b"1")
    old, new = cluster.servers[source], cluster.servers[target]
    new.command("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.node_id(source))
    old.command("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.node_id(target))
    await side.publish(channel, b"2")  # both keys are still at the source
    # one key has moved: TRYAGAIN from both sides
    assert b"OK" in old.command("MIGRATE", "127.0.0.1", new.port, f"{prefix}:0:{{{channel}}}", 0, 5000)
    waiting = asyncio.ensure_future(side.publish(channel, b"3"))
    await astays(lambda: not waiting.done(), 0.2)
    # both have: ASK
    assert b"OK" in old.command("MIGRATE", "127.0.0.1", new.port, f"{prefix}:0:{{{channel}}}:l", 0, 5000)
    assert (await waiting).last == 3
    assert (await side.publish(channel, b"4")).last == 4
    # a channel of this slot that has no keys yet is asked for at the target too
    await asyncio.to_thread(finish_move, cluster, slot, source, target)
    assert (await side.publish(channel, b"5")).last == 5
    assert datas(await side.page(channel)) == [b"1", b"2", b"3", b"4", b"5"]


async def test_a_node_that_is_away_delays_its_own_channels_only(make_side: Callable[..., Side]) -> None:
    require("redis7")
    with await asyncio.to_thread(RedisCluster) as cluster:
        for server in cluster.servers:
            server.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        side = make_side(f"redis+cluster://127.0.0.1:{cluster.ports[0]}", publish_timeout_seconds=20)
        sink = Recorder()
        side.upstream(sink).subscribe(CHANNELS)
        await await_for(lambda: all(sink.confirmations(channel) for channel in CHANNELS))
        there = [channel for channel in CHANNELS if cluster.owner(slot_of(channel)) == 2]
        here = [channel for channel in CHANNELS if channel not in there]
        for channel in CHANNELS:
            await side.publish(channel, b"1")
        cluster.servers[2].kill()
        await await_for(lambda: all(sink.losses(channel) for channel in there))
        waiting = asyncio.ensure_future(side.publish(there[0], b"2"))
        for channel in here:
            await side.publish(channel, b"2")
        await await_for(lambda: all(sink.data(channel) == [b"1", b"2"] for channel in here))
        assert sum(sink.losses(channel) for channel in here) == 0
        assert not waiting.done()
        await asyncio.to_thread(cluster.servers[2].start)
        await waiting
        await await_for(lambda: all(sink.confirmations(channel) == 2 for channel in there))


async def test_a_process_that_starts_while_a_primary_is_away_works_on_the_others(
    make_side: Callable[..., Side], prefix: str
) -> None:
    """It is dead in one colour and frozen in the other."""
    require("redis7")
    with await asyncio.to_thread(RedisCluster) as cluster:
        for server in cluster.servers:
            server.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        away = cluster.owner(slot_of(f"{prefix}:retention"))
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in cluster.ports)
        other = make_side(url, publish_timeout_seconds=3)
        frozen = other.colour == "threads"
        here = [name for name in CHANNELS if cluster.owner(slot_of(name)) != away]
        there = next(name for name in CHANNELS if name not in here)
        await other.publish(there, b"1")
        server = cluster.servers[away]
        server.pause() if frozen else server.kill()
        side = make_side(url, publish_timeout_seconds=3, replay_size=50)
        sink = Recorder()
        side.upstream(sink).subscribe(here)
        for name in here:
            assert (await side.publish(name, b"1")).last == 1
        await await_for(lambda: all(sink.confirmations(name) for name in here))
        await side.publish(here[0], b"2")
        await await_for(lambda: sink.data(here[0])[-1:] == [b"2"])
        assert all(datas(page)[0] == b"1" for page in await side.read(*[ReadRequest(name) for name in here]))
        with pytest.raises((BackendUnavailable, PublishUncertain), match=repr(there)):
            await side.publish(there, b"2")
        assert side.backend._codec.replay_size == 50
        await asyncio.to_thread(server.resume if frozen else server.start)
        await published_again(side, there, b"3")

        async def follows() -> bool:
            """A frozen server has kept what is stored; a dead one without a file has forgotten it."""
            await side.publish(here[0], b"x")
            return side.backend._codec.replay_size == (1000 if frozen else 50) and side.backend._retention.known

        await await_for(follows, what="the stored retention")
