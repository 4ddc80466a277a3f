"""Calls that are cancelled, and greenlets that are killed, at random moments: nobody gets somebody else's answer."""

from __future__ import annotations

import asyncio

from sse_bridge import Bridge
from tests.faults.cancelling import PATIENCE_SECONDS, cancel_calls
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
        for seed in range(scale.pick(1, 20)):
            names = asyncio.run(_cancel(network.redis_url, f"seed{seed}", seed, tally))
            missing = {"apublish", "apublish_many", "ahistory", "aclose_channel", "wait_ready", "next"} - set(names)
            if missing:
                tally.wrong.append(f"seed {seed}: never cancelled: {missing}")
    return tally


async def _cancel(url: str, prefix: str, seed: int, tally: Tally) -> set[str]:
    async with Bridge(url, prefix=prefix, linger_seconds=0.2, replay_size=10_000) as bridge:
        lives = cancel_calls(bridge, seed, callers=20, rounds=30, tally=tally)
        return set(await asyncio.wait_for(lives, PATIENCE_SECONDS))


@guarantee(
    "Greenlets killed in any call at random moments", part="Cancellation", promise="no answer reaches another caller"
)
def killed_greenlets(scale: Scale) -> Tally:
    tally = Tally()
    rounds = str(scale.pick(12, 30))
    with RedisServer() as redis, Proxy(redis.port) as network:
        network.delay_seconds = 0.001
        for seed in range(scale.pick(1, 5)):
            redis.command("FLUSHALL")
            command = ["python", "-m", "tests.faults.killed_greenlets", network.redis_url, str(seed), "20", rounds]
            with Process(command) as process:
                if process.wait(60) != 0:
                    tally.wrong.append(f"seed {seed}: {process.output}")
                    continue
                killed, published = map(int, process.output.split()[-2:])
            tally.faults += killed
            tally.published += published
    return tally
