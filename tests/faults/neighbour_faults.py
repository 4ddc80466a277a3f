"""One channel, or one server of a cluster, is in trouble: the readers of all others notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.backends.redis.keys import Keys
from sse_bridge.backends.redis.routes import slot_of
from sse_bridge.errors import BackendError
from tests.faults.neighbours import Neighbours
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.stand import late_seconds
from tests.support.redis_group import RedisCluster
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

PART = "Broker"
UNNOTICED = "readers of other channels in the same process notice nothing"
HEALTHY = [f"well:{number}" for number in range(8)]
PREFIX = "neighbours"


def judged(here: Neighbours, scale: Scale, fresh: float) -> Tally:
    bound = 0.5 + late_seconds(scale)
    here.tally.notes.append(f"an event took {here.latest:.2f} s at most, a new reader was ready after {fresh:.2f} s")
    if max(here.latest, fresh) > bound:
        here.tally.wrong.append(
            f"healthy readers waited {here.latest:.2f} s, new ones {fresh:.2f} s, at most {bound} s"
        )
    return here.tally


@guarantee("a key of another type in the place of one channel's log", part=PART, promise=UNNOTICED)
def wrong_type_of_one(scale: Scale) -> Tally:
    with RedisServer() as server, Neighbours(server.url, HEALTHY, prefix=PREFIX) as here:
        fresh = 0.0
        for number in range(scale.pick(short=2, long=40)):
            channel = f"sick:{number}"
            server.command("HSET", Keys(PREFIX, 0).of(channel)[0].decode(), "a", "b")
            here.tally.faults += 1
            sick = here.bridge.subscribe(channel)
            asick = asyncio.run_coroutine_threadsafe(_asubscribe(here, channel), here.loop).result(60)
            assert not sick.wait_ready(0.2)
            with contextlib.suppress(BackendError):
                here.bridge.publish(channel, "refused")
            here.flow()
            fresh = max(fresh, here.fresh())
            sick.close()
            asyncio.run_coroutine_threadsafe(asick.aclose(), here.loop).result(60)  # type: ignore[attr-defined]
    return judged(here, scale, fresh)


async def _asubscribe(here: Neighbours, channel: str) -> object:
    return here.bridge.asubscribe(channel)


@guarantee("an ACL that forbids one channel", part=PART, promise=f"{UNNOTICED}; who waits for that one is told why")
def forbidden_channel(scale: Scale) -> Tally:
    allowed = " ".join(f"{kind}{PREFIX}:{name}" for kind in "~&" for name in ("retention", "0:{well*", "0:{.*"))
    user = f"user default on nopass +@all {allowed}"
    with RedisServer(config=[user]) as server, Neighbours(server.url, HEALTHY, prefix=PREFIX) as here:
        fresh = 0.0
        for number in range(scale.pick(short=2, long=40)):
            here.tally.faults += 1
            with here.bridge.subscribe(f"sick:{number}") as sick:
                with pytest.raises(BackendError, match="NOPERM"):
                    sick.wait_ready(60)
                here.flow()
                fresh = max(fresh, here.fresh())
    return judged(here, scale, fresh)


@guarantee(
    "Cluster: a primary dead, and another time frozen (SIGSTOP), with `cluster-require-full-coverage no`",
    part=PART,
    promise=UNNOTICED,
)
def dead_primary(scale: Scale) -> Tally:
    with RedisCluster() as cluster:
        for server in cluster.servers:
            server.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        lost = 2
        owners = {name: cluster.owner(slot_of(name)) for name in (f"c:{number}" for number in range(40))}
        healthy = [name for name, owner in owners.items() if owner != lost][:8]
        sick = [name for name, owner in owners.items() if owner == lost][:6]
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in cluster.ports)
        with Neighbours(url, healthy, publish_timeout_seconds=2) as here:
            fresh = 0.0
            streams = [here.bridge.subscribe(name) for name in sick]
            others = [asyncio.run_coroutine_threadsafe(_asubscribe(here, name), here.loop).result(60) for name in sick]
            assert all(stream.wait_ready(60) for stream in streams)
            for number in range(scale.pick(short=2, long=6)):
                server = cluster.servers[lost]
                if number % 2:
                    server.pause()
                else:
                    server.kill()
                here.tally.faults += 1
                until = time.monotonic() + 3  # longer than links may be silent, and than the deadline of a read
                while time.monotonic() < until:
                    here.flow()
                    fresh = max(fresh, here.fresh())
                if number % 2:
                    server.resume()
                else:
                    server.start()
                wait_for(lambda: all(stream.wait_ready(1) for stream in streams), what="the primary's own readers")
            for stream in streams:
                stream.close()
            for other in others:
                asyncio.run_coroutine_threadsafe(other.aclose(), here.loop).result(60)  # type: ignore[attr-defined]
    return judged(here, scale, fresh)


@guarantee(
    "Cluster: a process starts while a primary is dead, the one with the stored retention",
    part=PART,
    promise="it publishes to and reads from the other primaries at once; the stored retention rules again when that one is back",
)
def started_without_a_primary(scale: Scale) -> Tally:
    slowest = 0.0
    with RedisCluster() as cluster:
        for server in cluster.servers:
            server.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        lost = cluster.owner(slot_of(f"{PREFIX}:retention"))
        names = [f"c:{number}" for number in range(40)]
        healthy = [name for name in names if cluster.owner(slot_of(name)) != lost][:4]
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in cluster.ports)
        with Bridge(url, prefix=PREFIX, replay_size=300) as first:
            first.publish(healthy[0], "before")
        cluster.servers[lost].pause()  # what it holds stays
        tally = Tally(lost=0, doubled=0, reordered=0, gaps=0)
        for _ in range(scale.pick(short=1, long=5)):
            tally.faults += 1
            began = time.monotonic()
            with Neighbours(url, healthy, prefix=PREFIX, publish_timeout_seconds=3) as here:
                slowest = max(slowest, time.monotonic() - began)
                here.flow()
            tally += here.tally
        with Bridge(url, prefix=PREFIX, publish_timeout_seconds=3) as late:
            late.publish(healthy[0], "during")
            cluster.servers[lost].resume()
            backend: Any = late.backend

            def follows() -> bool:
                late.publish(healthy[0], "behind")
                return bool(backend._codec.replay_size == 300)

            wait_for(follows, what="the stored retention")
    tally.notes.append(f"ten events on each channel were read {slowest:.1f} s after the start")
    if slowest > 2 * 3 + late_seconds(scale):  # the readers' process begins, and then the publishers'
        tally.wrong.append(f"a start took {slowest:.1f} s, longer than the deadlines of two publishes")
    return tally
