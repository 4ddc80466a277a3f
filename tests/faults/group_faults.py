"""Faults of several Redis servers: failovers that throw entries away, and slots that move."""

from __future__ import annotations

import time

from sse_bridge.backends.redis.routes import slot_of
from tests.backends.redis.test_cluster import move
from tests.faults.broker_faults import COMPLETE, PART, exactly, key, no_gaps
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.stand import CHANNEL, Stand
from tests.support.redis_group import RedisCluster, RedisSentinel
from tests.support.redis_server import RedisServer
from tests.support.stale_sentinel import StaleSentinel
from tests.support.wait import wait_for

TOLD = "one gap `diverged` per reader and failover, and everything behind it"


@guarantee("Sentinel failover that throws entries away", part=PART, promise=TOLD)
def failover(scale: Scale) -> Tally:
    """The replica was cut off from its primary when the primary died."""
    total = Tally()
    for _ in range(scale.pick(short=1, long=3)):
        with RedisSentinel() as group:
            first, replica = group.servers[:2]
            url = f"redis+sentinel://127.0.0.1:{group.sentinel.port}/{group.name}/0"
            with Stand(url=url, scale=scale, home=first) as stand:
                replica.command("REPLICAOF", "127.0.0.1", "1")
                stand.flow(50)
                first.kill()
                stand.tally.faults += 1
                stand.wait(lambda: min(stand.gaps("diverged")), what="the gap")
                stand.flow()
            total += exactly(stand, "diverged", 1)
    return total


@guarantee(
    "the primary dies, and the Sentinel that is asked first is cut off and names it for ever",
    part=PART,
    promise=f"the next Sentinel is asked, and all go on with the new primary: {COMPLETE}",
)
def stale_sentinel(scale: Scale) -> Tally:
    """Its replica has everything when it dies: what a failover itself loses is the matter of another row."""
    total, longest = Tally(), 0.0
    for _ in range(scale.pick(short=1, long=3)):
        with RedisSentinel() as group, StaleSentinel(group.servers[0].port) as stale:
            url = f"redis+sentinel://127.0.0.1:{stale.port},127.0.0.1:{group.sentinel.port}/{group.name}/0"
            with Stand(url=url, scale=scale, home=group.servers[0]) as stand:
                assert stale.asked
                first, replica = group.servers[:2]
                first.command("CLIENT", "PAUSE", 20_000, "WRITE")
                wait_for(lambda: length(stand, replica) == length(stand, first), what="the replica")  # noqa: B023
                first.kill()
                stand.tally.faults += 1
                began = time.monotonic()
                stand.flow()
                longest = max(longest, time.monotonic() - began)
            total += no_gaps(stand)
    total.notes.append(f"with the failover, which takes a second and more, it took {longest:.1f} s")
    return total


@guarantee(
    "all Sentinels are away, and every connection to the primary is killed",
    part=PART,
    promise=f"the primary that is known is used on: {COMPLETE}",
)
def no_sentinel(scale: Scale) -> Tally:
    with RedisSentinel() as group:
        first = group.servers[0]
        url = f"redis+sentinel://127.0.0.1:{group.sentinel.port}/{group.name}/0"
        with Stand(url=url, scale=scale, home=first) as stand:
            for number in range(scale.pick(short=2, long=8)):
                if number % 2:
                    group.sentinel.pause()  # it takes connections and says nothing
                else:
                    group.sentinel.kill()
                for kind in ("pubsub", "normal"):
                    assert first.command("CLIENT", "KILL", "TYPE", kind).startswith(b":")
                stand.tally.faults += 1
                stand.flow()
                if number % 2:
                    group.sentinel.resume()
                else:
                    group.sentinel.start()
        return no_gaps(stand)


@guarantee("failover that throws entries away, and the new primary overtakes every reader", part=PART, promise=TOLD)
def overtaken(scale: Scale) -> Tally:
    """By offsets alone nothing is missing: the readers come back to a log that has grown past where they stood."""
    config = ["repl-diskless-sync-delay 0"]
    with RedisServer(config=config) as first, RedisServer(config=config) as second, Stand(first, scale=scale) as stand:
        assert stand.publishing
        assert stand.reading
        primary, replica = first, second
        rounds = scale.pick(short=2, long=15)
        for number in range(rounds):
            replica.command("REPLICAOF", "127.0.0.1", primary.port)
            wait_for(lambda: b"master_link_status:up" in replica.command("INFO", "replication"))  # noqa: B023
            stand.flow()
            replica.command("REPLICAOF", "NO", "ONE")
            stand.flow(50)  # these will be thrown away, and every reader has seen them
            top = length(stand, primary)
            stand.reading.refuse()
            stand.publishing.target = replica.port
            stand.publishing.cut()
            stand.tally.faults += 1
            wait_for(lambda: length(stand, replica) > top + 100, what="the new primary to overtake")  # noqa: B023
            stand.reading.target = replica.port
            stand.reading.accept()
            stand.wait(lambda number=number: min(stand.gaps("diverged")) > number, what="the gap")  # type: ignore[misc]
            stand.flow()
            primary, replica = replica, primary
    return exactly(stand, "diverged", rounds)


def length(stand: Stand, server: RedisServer) -> int:
    """How many entries the channel's log has there."""
    return int(server.command("LLEN", key(stand, "list"))[1:])


@guarantee("Cluster: the channel's slot moves while in use", part=PART, promise=COMPLETE)
def resharding(scale: Scale) -> Tally:
    with RedisCluster() as cluster:
        slot = slot_of(CHANNEL)
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in cluster.ports)
        with Stand(url=url, scale=scale, home=cluster.servers[cluster.owner(slot)]) as stand:
            for _ in range(scale.pick(short=3, long=40)):
                move(cluster, slot, (cluster.owner(slot) + 1) % 3)
                stand.tally.faults += 1
                stand.flow()
        return no_gaps(stand)
