"""Several private Redis servers that belong together: a Cluster, or a primary with a replica and a Sentinel."""

from __future__ import annotations

from typing import Self

from tests.support.process import free_port
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

SLOTS = 16384


class RedisGroup:
    """What both have in common: `servers`, and `stop()` for all of them."""

    def __init__(self) -> None:
        self.servers: list[RedisServer] = []

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class RedisCluster(RedisGroup):
    """A cluster of primaries that share the slots in equal ranges; `servers[i]` is node i."""

    def __init__(self, nodes: int = 3) -> None:
        super().__init__()
        try:
            for index in range(nodes):
                node = _cluster_node()
                self.servers.append(node)
                first, last = index * SLOTS // nodes, (index + 1) * SLOTS // nodes - 1
                assert node.command("CLUSTER", "ADDSLOTSRANGE", first, last) == b"+OK\r\n"
                node.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            for node in self.servers[1:]:
                bus = _bus_port(node)
                self.servers[0].command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
            for node in self.servers:
                wait_for(lambda node=node: self._complete(node), what="a complete cluster")  # type: ignore[misc]
        except BaseException:
            self.stop()
            raise

    def _complete(self, node: RedisServer) -> bool:
        info = node.command("CLUSTER", "INFO")
        return b"cluster_state:ok" in info and b"cluster_known_nodes:%d" % len(self.servers) in info

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    def node_id(self, index: int) -> str:
        return self.servers[index].command("CLUSTER", "MYID").split(b"\r\n")[1].decode()

    def owner(self, slot: int) -> int:
        """The index of the node that owns a slot, as node 0 sees it."""
        for line in self.servers[0].command("CLUSTER", "NODES").decode().splitlines():
            fields = line.split()
            for part in fields[8:]:
                low, _, high = part.partition("-")
                if low.isdigit() and int(low) <= slot <= int(high or low):
                    return self.ports.index(int(fields[1].split("@")[0].rpartition(":")[2]))
        raise AssertionError(f"no node owns slot {slot}")


def _cluster_node() -> RedisServer:
    bus = free_port()
    return RedisServer(
        config=[
            "cluster-enabled yes",
            "cluster-node-timeout 2000",
            f"cluster-port {bus}",
            "cluster-allow-replica-migration no",
        ]
    )


def _bus_port(node: RedisServer) -> int:
    return next(int(line.split()[1]) for line in node.config if line.startswith("cluster-port "))


class RedisSentinel(RedisGroup):
    """A primary, a replica and one Sentinel that fails over after a second; the service's name is `name`."""

    name = "primary"

    def __init__(self) -> None:
        super().__init__()
        try:
            first = RedisServer()
            self.servers.append(first)
            replica = RedisServer(config=[f"replicaof 127.0.0.1 {first.port}", "repl-diskless-sync-delay 0"])
            self.servers.append(replica)
            wait_for(lambda: b"master_link_status:up" in replica.command("INFO", "replication"), what="a replica")
            self.sentinel = RedisServer(
                config=[
                    f"sentinel monitor {self.name} 127.0.0.1 {first.port} 1",
                    f"sentinel down-after-milliseconds {self.name} 1000",
                    f"sentinel failover-timeout {self.name} 5000",
                ],
                arguments=["--sentinel"],
            )
            self.servers.append(self.sentinel)
            wait_for(
                lambda: str(replica.port).encode() in self.sentinel.command("SENTINEL", "REPLICAS", self.name),
                30,
                what="Sentinel to know the replica",
            )
        except BaseException:
            self.stop()
            raise

    @property
    def primary(self) -> RedisServer:
        """The server that Sentinel calls the primary now."""
        answer = self.sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        port = int(answer.split(b"\r\n")[4])
        return next(server for server in self.servers if server.port == port)

    def failover(self) -> RedisServer:
        """Make Sentinel promote the replica and return the new primary once it takes writes."""
        before = self.primary
        # It refuses until it has asked the replica for its state, once per second.
        wait_for(lambda: self.sentinel.command("SENTINEL", "FAILOVER", self.name) == b"+OK\r\n", what="a failover")
        wait_for(lambda: self.primary is not before, what="another primary")
        after = self.primary
        wait_for(lambda: b"role:master" in after.command("INFO", "replication"), what="the promotion")
        return after
