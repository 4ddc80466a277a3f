"""Calls that are cancelled, and greenlets that are killed, at random moments: nobody gets somebody else's answer."""

from __future__ import annotations

import asyncio
from typing import Any

from sse_bridge import Bridge
from tests.faults.awaited import AROUND_A_SPOOL, IN_A_CONSUMER, IN_A_LIFE, IN_MEMORY
from tests.faults.cancelling import PATIENCE_SECONDS, cancel_calls
from tests.faults.cancelling_letters import cancel_around_a_spool
from tests.faults.cancelling_sockets import cancel_sockets
from tests.faults.registry import Scale, Tally, guarantee
from tests.support.process import Process
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer


@guarantee(
    "Any awaited call cancelled at random moments", part="Cancellation", promise="no answer reaches another caller"
)
def cancelled_calls(scale: Scale) -> Tally:
    tally = Tally()
    with RedisServer() as redis, Proxy(redis.port) as network:
        network.delay_seconds = 0.001
        names: set[str] = set()
        for seed in range(scale.pick(1, 10)):
            names |= asyncio.run(_cancel(network.redis_url, f"seed{seed}", seed, tally))
        _all_cancelled(names, IN_A_LIFE, tally)
    return tally


@guarantee(
    "The same on the memory backend, publishers held by a blocking reader",
    part="Cancellation", promise="no answer reaches another caller", needs=(),
)  # fmt: skip
def cancelled_calls_in_memory(scale: Scale) -> Tally:
    tally = Tally()
    names: set[str] = set()
    for seed in range(scale.pick(2, 20)):
        names |= asyncio.run(_cancel("memory://", f"seed{seed}", seed, tally))
    _all_cancelled(names, IN_MEMORY, tally)
    return tally


@guarantee(
    "Calls cancelled while a spool fills and empties, and while its dead letters are sent again",
    part="Cancellation", promise="what was taken is stored once, no answer reaches another caller",
)  # fmt: skip
def cancelled_around_a_spool(scale: Scale) -> Tally:
    tally = Tally()
    names: set[str] = set()
    with RedisServer() as redis, Proxy(redis.port) as network:
        network.delay_seconds = 0.001
        for seed in range(scale.pick(1, 5)):
            names |= asyncio.run(_cancel_around_a_spool(network, seed, tally))
    _all_cancelled(names, AROUND_A_SPOOL, tally)
    return tally


async def _cancel_around_a_spool(network: Proxy, seed: int, tally: Tally) -> set[str]:
    settings: dict[str, Any] = {"on_unavailable": "spool", "spool_max_events": 60, "publish_timeout_seconds": 2}
    async with Bridge(network.redis_url, prefix=f"seed{seed}", **settings) as bridge:
        return set(await cancel_around_a_spool(bridge, network, seed, spoolers=10, rounds=15, tally=tally))


@guarantee(
    "WebSockets and consumers cancelled at random moments",
    part="Cancellation", promise="every event once over all connections, no answer reaches another client",
)  # fmt: skip
def cancelled_sockets(scale: Scale) -> Tally:
    tally = Tally()
    names: set[str] = set()
    with RedisServer() as redis, Proxy(redis.port) as network:
        network.delay_seconds = 0.001
        for seed in range(scale.pick(1, 10)):
            for url in (network.redis_url, "memory://"):
                names |= asyncio.run(_cancel_sockets(url, seed, tally))
    _all_cancelled(names, IN_A_CONSUMER | {"websocket"}, tally)
    return tally


async def _cancel_sockets(url: str, seed: int, tally: Tally) -> set[str]:
    async with Bridge(url, prefix=f"seed{seed}", linger_seconds=0.2) as bridge:
        return await cancel_sockets(bridge, seed, clients=15, rounds=10, tally=tally)


def _all_cancelled(names: set[str], expected: frozenset[str], tally: Tally) -> None:
    if missing := expected - names:
        tally.wrong.append(f"never cancelled: {missing}")


async def _cancel(url: str, prefix: str, seed: int, tally: Tally) -> set[str]:
    async with Bridge(url, prefix=prefix, linger_seconds=0.2, replay_size=10_000) as bridge:
        lives = cancel_calls(bridge, seed, callers=20, rounds=40, tally=tally)
        return set(await asyncio.wait_for(lives, PATIENCE_SECONDS))


@guarantee(
    "Greenlets killed in any call at random moments", part="Cancellation", promise="no answer reaches another caller"
)
def killed_greenlets(scale: Scale) -> Tally:
    tally = Tally()
    rounds = str(scale.pick(15, 30))
    with RedisServer() as redis, Proxy(redis.port) as network:
        network.delay_seconds = 0.001
        for seed in range(scale.pick(1, 5)):
            redis.command("FLUSHALL")
            for url in (network.redis_url, "memory://"):
                command = ["python", "-m", "tests.faults.killed_greenlets", url, str(seed), "20", rounds]
                with Process(command) as process:
                    if process.wait(60) != 0:
                        tally.wrong.append(f"{url}, seed {seed}: {process.output}")
                        continue
                    killed, published = map(int, process.output.split()[-2:])
                if not killed:
                    tally.wrong.append(f"{url}, seed {seed}: nothing was killed")
                tally.faults += killed
                tally.published += published
    return tally
