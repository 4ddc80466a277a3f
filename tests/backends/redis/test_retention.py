"""The retention of a prefix: the stored values rule, a higher generation replaces a lower, and running processes follow."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sse_bridge import Bridge
from sse_bridge.backends.redis import RedisBackend
from sse_bridge.backends.redis.keys import LAYOUT_VERSION, Keys
from sse_bridge.backends.redis.retention import RETENTION, Retention, RetentionCall
from sse_bridge.backends.redis.scripts import Codec
from sse_bridge.config import Settings
from sse_bridge.errors import ConfigurationError
from tests.backends.sides import Side, batch, datas
from tests.support.proxy import Proxy
from tests.support.redis_group import RedisCluster, RedisSentinel
from tests.support.redis_server import RedisServer
from tests.support.requires import require

OURS = LAYOUT_VERSION.decode()
OLDER, NEWER = (str(int(OURS) + step) for step in (-1, 1))


def kept(side: Side) -> tuple[int, float]:
    codec = side.backend._codec
    return codec.replay_size, codec.replay_seconds


def look_now(side: Side) -> None:
    """As if the time had come to read the retention again."""
    side.backend._retention.look_at = 0.0


def stored(admin: redis.Redis, prefix: str) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in admin.hgetall(f"{prefix}:retention").items()}


def lines(caplog: pytest.LogCaptureFixture, prefix: str) -> list[str]:
    """What was logged about the prefix; bridges of other tests may still end."""
    return [line for record in caplog.records if prefix in (line := record.getMessage())]


async def test_the_stored_values_rule_and_one_line_says_so(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    await make_side(redis_url, replay_size=16, replay_seconds=60.5).publish("a", b"1")
    first = stored(admin, prefix)
    assert (first["replay_size"], first["replay_seconds"], first["generation"]) == ("16", "60.5", "1")
    assert first["version"] == LAYOUT_VERSION.decode()
    other = make_side(redis_url, replay_size=200, replay_seconds=7200)
    with caplog.at_level(logging.INFO):
        for _ in range(50):
            await other.publish("a", b"x")
        look_now(other)
        await other.publish("a", b"x")
    (line,) = lines(caplog, prefix)
    assert "replay_size=16, replay_seconds=60.5 (generation 1), not replay_size=200, replay_seconds=7200" in line
    assert kept(other) == (16, 60.5)
    assert admin.llen(f"{prefix}:0:{{a}}:l") <= 32
    assert admin.pttl(f"{prefix}:0:{{a}}:l") <= 68_100
    assert stored(admin, prefix) == first


async def test_update_stores_its_values_and_running_processes_follow(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    old = make_side(redis_url, replay_size=16)
    await old.publish("a", b"1")
    new = make_side(redis_url, replay_size=100, retention_change="update")
    await new.publish("a", b"2")
    assert (stored(admin, prefix)["replay_size"], stored(admin, prefix)["generation"]) == ("100", "2")
    assert kept(old) == (16, 3600.0)
    look_now(old)
    with caplog.at_level(logging.INFO):
        await asyncio.gather(*[old.publish("a", b"3") for _ in range(5)])
        await old.publish("a", b"4")
    assert kept(old) == (100, 3600.0)
    (line,) = lines(caplog, prefix)
    assert "generation 2" in line
    again = make_side(redis_url, replay_size=100, retention_change="update")
    await again.publish("a", b"5")
    assert stored(admin, prefix)["generation"] == "2", "nothing differs, so nothing is raised"


async def test_a_process_of_before_the_change_does_not_take_it_back(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str
) -> None:
    late = make_side(redis_url, replay_size=50, retention_change="update")
    later = make_side(redis_url, replay_size=70, retention_change="update")
    await make_side(redis_url, replay_size=16).publish("a", b"1")
    await later.publish("a", b"2")  # a first use was no change, so it counts for nothing that it came later
    assert kept(later) == (70, 3600.0)
    await late.publish("a", b"3")  # its first use comes after the deploy
    assert kept(late) == (70, 3600.0)
    assert (stored(admin, prefix)["replay_size"], stored(admin, prefix)["generation"]) == ("70", "2")


async def test_who_adopts_stores_nothing(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    tool = make_side(redis_url, retention_change="adopt")
    await tool.publish("a", b"1")
    assert stored(admin, prefix) == {}
    await make_side(redis_url, replay_size=16, replay_seconds=60).publish("a", b"2")
    look_now(tool)
    await tool.publish("a", b"3")
    assert kept(tool) == (16, 60.0)
    assert lines(caplog, prefix) == []


async def test_values_that_the_broker_lost_are_stored_again(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str
) -> None:
    """After a failover or a restart that lost them, the process that has seen the highest generation rules."""
    side = make_side(redis_url, replay_size=16)
    await side.publish("a", b"1")
    assert side.backend.change_retention(20, 60.0)[1:4] == (20, 60.0, 2)
    await side.publish("a", b"2")
    admin.delete(f"{prefix}:retention")
    other = make_side(redis_url, replay_size=500)
    await other.publish("a", b"3")  # first, and begins with a generation of its own
    assert stored(admin, prefix)["generation"] == "1"
    for each in (side, other):
        look_now(each)
        await each.publish("a", b"4")
        assert kept(each) == (20, 60.0)
    assert (stored(admin, prefix)["replay_size"], stored(admin, prefix)["generation"]) == ("20", "2")


async def test_another_layout_is_refused_with_both_named(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str
) -> None:
    for version in (OLDER, NEWER):
        admin.hset(f"{prefix}:retention", mapping={"version": version, "replay_size": 1, "replay_seconds": 1})
        before = admin.keys(f"{prefix}*")
        side = make_side(redis_url)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=f"expected layout '{OURS}'.*, got '{version}'"):
                await side.publish("a", b"1")
            with pytest.raises(ConfigurationError, match=f"got '{version}'"):
                await side.page("a")
        with pytest.raises(ConfigurationError, match=f"got '{version}'"):
            await asyncio.to_thread(side.backend.change_retention, 5, 5.0)
        assert side.backend.stored_retention().version == version.encode()
        assert admin.keys(f"{prefix}*") == before


async def test_values_that_are_no_numbers_are_those_of_another_layout(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str
) -> None:
    for version in (OURS, NEWER):
        admin.hset(f"{prefix}:retention", mapping={"version": version, "replay_size": "all", "replay_seconds": "ever"})
        side = make_side(redis_url, retention_change="adopt")
        with pytest.raises(ConfigurationError, match=f"got '{version}"):
            await side.publish("a", b"1")
        assert side.backend.stored_retention().generation == 0


async def test_a_running_process_notices_another_layout(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str
) -> None:
    side = make_side(redis_url)
    await side.publish("a", b"1")
    admin.hset(f"{prefix}:retention", "version", NEWER)
    look_now(side)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"got '{NEWER}'"):
            await side.publish("a", b"2")
    with pytest.raises(ConfigurationError, match=f"got '{NEWER}'"):
        await side.page("a")
    admin.hset(f"{prefix}:retention", "version", LAYOUT_VERSION)
    assert (await side.publish("a", b"2")).last == 2


async def test_a_look_that_fails_hinders_no_publish(
    make_side: Callable[..., Side],
    proxy: Callable[[int], Proxy],
    redis_server: RedisServer,
    admin: redis.Redis,
    prefix: str,
) -> None:
    network = proxy(redis_server.port)
    side = make_side(network.redis_url, replay_size=16)
    await side.publish("a", b"1")
    admin.rename(f"{prefix}:retention", f"{prefix}:aside")
    admin.set(f"{prefix}:retention", "no hash")
    look_now(side)
    for _ in range(3):
        await side.publish("a", b"2")
    assert side.backend._retention.look_at > time.monotonic()
    assert kept(side) == (16, 3600.0)


async def test_tasks_that_publish_meanwhile_wait_for_the_look_in_order(redis_url: str, prefix: str) -> None:
    side = Side(RedisBackend(Settings(url=redis_url, prefix=prefix)), "asyncio")
    await side.publish("a", b"0")
    for _ in range(10):
        look_now(side)
        await asyncio.gather(*[side.publish("a", b"%d" % n) for n in range(10)])
    assert datas(await side.page("a", limit=200))[1:] == [b"%d" % n for n in range(10)] * 10
    look_now(side)
    first, second = (asyncio.ensure_future(side.publish("a", data)) for data in (b"cancelled", b"last"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).last == 102
    assert first.cancelled()
    assert side.backend._retention.look_at > time.monotonic()
    await side.close()


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    require("redis7")
    with RedisCluster() as cluster:
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in cluster.ports)


@pytest.fixture(scope="module")
def sentinel_url() -> Iterator[str]:
    require("redis7")
    with RedisSentinel() as group:
        yield f"redis+sentinel://127.0.0.1:{group.sentinel.port}/{group.name}/0"


@pytest.fixture(params=["cluster_url", "sentinel_url"])
def many_url(request: pytest.FixtureRequest) -> str:
    """Behind Sentinels, and on a cluster, where the key lives with one primary only."""
    return str(request.getfixturevalue(request.param))


async def test_it_is_changed_and_followed_everywhere(make_side: Callable[..., Side], many_url: str) -> None:
    old = make_side(many_url, replay_size=16)
    channels = [f"c{number}" for number in range(8)]
    for channel in channels:
        await old.publish(channel, b"1")
    new = make_side(many_url, replay_size=100, retention_change="update")
    await new.publish("a", b"2")
    look_now(old)
    for channel in channels:
        await old.append(batch(channel, *[b"x"] * 50))
        assert len((await new.page(channel)).entries) == 51
    assert kept(old) == kept(new) == (100, 3600.0)


async def test_another_layout_is_refused_everywhere(
    make_side: Callable[..., Side], many_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_side(many_url).publish("a", b"1")
    monkeypatch.setattr("sse_bridge.backends.redis.retention.LAYOUT_VERSION", NEWER.encode())
    with pytest.raises(ConfigurationError, match=f"expected layout '{NEWER}'.*, got '{OURS}'"):
        await make_side(many_url).publish("a", b"2")


def test_readers_are_exact_while_a_deploy_changes_it(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old and new processes publish in turn, each with values of its own; nobody misses anything that was not trimmed."""
    monkeypatch.setattr("sse_bridge.backends.redis.retention.LOOK_AGAIN_SECONDS", 0.0)  # at every publish
    old = Bridge(redis_url, prefix=prefix, replay_size=16)
    new = Bridge(redis_url, prefix=prefix, replay_size=200, retention_change="update")
    with old, new, old.subscribe("a") as before:
        assert before.wait_ready(60)
        old.publish("a", 0)
        with new.subscribe("a", after="earliest") as after:
            for number in range(1, 100):
                (old, new)[number % 2].publish("a", number)
            for stream in (before, after):
                events = [stream.next(60) for _ in range(100)]
                assert [event.data for event in events if event] == list(range(100))
        assert len(old.history("a", limit=200)) == 100, "the old process keeps what the new one wants"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_what_is_seen_is_inherited_by_a_child_that_begins_anew(redis_url: str, prefix: str) -> None:
    settings = Settings(url=redis_url, prefix=prefix, replay_size=16)
    backend = RedisBackend(settings)
    backend.append(batch("a", b"1"))
    assert backend._retention.known is not None
    made = Retention(Codec(backend._keys, 1, 1.0, False), settings, 0.0)
    made.learn(backend._retention.known, 5.0)
    assert made.call(6.0).arguments(None)[5:] == (b"1", b"keep", b"6000")
    backend.close()


def test_settings_are_as_old_as_they_are_when_the_look_is_sent() -> None:
    """Its server was away: what was changed meanwhile is newer, and a process of before must not take it back."""
    codec = Codec(Keys("p", 0), 16, 60.0, False)
    look = Retention(codec, Settings(retention_change="update"), 100.0).call(100.5)
    for now in (101.0, 104.0):
        assert look.command(now).endswith(b"\r\n%d\r\n" % ((now - 100) * 1000))


class Process:
    """What one process knows, without its connections."""

    def __init__(self, client: redis.Redis, prefix: str, mode: str, size: int, now: float) -> None:
        settings = Settings(prefix=prefix, replay_size=size, retention_change=mode)  # type: ignore[arg-type]
        self.mode = mode
        self.codec = Codec(Keys(prefix, 0), size, settings.replay_seconds, False)
        self.retention = Retention(self.codec, settings, now)
        self._client = client

    def look(self, now: float) -> None:
        self._run(self.retention.call(now), now)

    def set(self, size: int, now: float) -> None:
        self._run(RetentionCall(self.codec, "set", (size, 60.0)), now)

    def _run(self, call: RetentionCall, now: float) -> None:
        self.retention.learn(call.parse(self._client.eval(RETENTION.source, *call.arguments(None))), now)  # type: ignore[arg-type]


STEP = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(["keep", "update", "adopt"]), st.sampled_from([16, 20, 500])),
    st.tuples(st.just("look"), st.integers(0, 20), st.just(0)),
    st.tuples(st.just("set"), st.integers(0, 20), st.sampled_from([16, 30])),
    st.tuples(st.just("lose"), st.just(0), st.just(0)),
    st.tuples(st.just("fail over"), st.just(0), st.just(0)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=2, max_size=20))
def test_whatever_is_changed_and_lost_all_processes_come_to_one_retention(
    admin: redis.Redis, prefix: str, steps: list[tuple[str, Any, int]]
) -> None:
    key = f"{prefix}:retention"
    admin.delete(key)
    processes = [Process(admin, prefix, "keep", 16, 0.0)]
    processes[0].look(0.0)
    older = admin.hgetall(key)
    for now, (what, which, size) in enumerate(steps, 1):
        if what == "start":
            processes.append(Process(admin, prefix, which, size, float(now)))
        elif what == "look":
            processes[which % len(processes)].look(float(now))
        elif what == "set":
            older = admin.hgetall(key)
            processes[which % len(processes)].set(size, float(now))
        else:
            admin.delete(key)
            if what == "fail over" and older:
                admin.hset(key, mapping=older)
    end = float(len(steps) + 1)
    for _ in range(2):
        for process in processes:
            process.look(end)
    kept = {(process.codec.replay_size, process.codec.replay_seconds) for process in processes}
    known = {process.retention.known for process in processes}
    assert len(kept) == len(known) == 1
    for process in processes:
        process.look(end)
    assert {process.retention.known for process in processes} == known, "nobody changes what all agree on"
