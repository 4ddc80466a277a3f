"""The brokers of a run: one Redis, three nodes of a Cluster, or a primary with its replica and Sentinel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.redis_group import RedisCluster, RedisSentinel
from tests.support.redis_server import RedisServer

CLUSTER_NODES = 3


@dataclass(frozen=True)
class Broker:
    """A broker that is up.

    Attributes:
        url: for `Bridge`.
        pids: of its processes.
    """

    url: str
    pids: tuple[int, ...]


@contextmanager
def broker(kind: str) -> Iterator[Broker]:
    """A fresh, empty one.

    Args:
        kind: ``redis``, ``cluster`` or ``sentinel``.
    """
    if kind == "redis":
        # peers open one connection per reader, and fall behind on it
        with RedisServer(config=["maxclients 20000", "client-output-buffer-limit pubsub 0 0 0"]) as server:
            yield Broker(server.url, _pids([server]))
    elif kind == "cluster":
        with RedisCluster(CLUSTER_NODES) as cluster:
            nodes = ",".join(f"127.0.0.1:{port}" for port in cluster.ports)
            yield Broker(f"redis+cluster://{nodes}", _pids(cluster.servers))
    elif kind == "sentinel":
        with RedisSentinel() as group:
            yield Broker(f"redis+sentinel://127.0.0.1:{group.sentinel.port}/{group.name}", _pids(group.servers))
    else:
        raise ValueError(f"expected redis, cluster or sentinel, got {kind!r}")


def _pids(servers: Sequence[RedisServer]) -> tuple[int, ...]:
    return tuple(server.process.pid for server in servers)
