"""A publisher that is killed, over and over: the parent forks a child that publishes, and kills it at some point.

    python -m tests.faults.killed_publisher URL COLOUR steps|random SEED

Each child publishes the same numbered events under the same idempotency keys, from the first on, as a caller does who
cannot know what its predecessor came to. `steps`: one child dies at each step of a publish of event 1; `random`: each at
a random moment. The last child is left alone. What is in the log then is the test's to judge.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from sse_bridge import Bridge
from sse_bridge.backends.redis import aio, threads

EVENTS = 150
KILLS = 12
STEPS = ("before sending", "inside sending", "after sending", "after the reply", "after returning")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(step: str) -> Callable[[], None]:
    """Makes the next exchange with Redis end this process at a step; returns what to call after the publish."""
    if step == "after returning":
        return die

    def sync_send(connection: Any, payload: bytes, timeout: float) -> None:
        if step == "before sending":
            die()
        connection.socket.sendall(payload[: len(payload) // 2] if step == "inside sending" else payload)
        if step != "after the reply":
            die()

    reply = threads.Connection.reply

    def sync_reply(connection: Any) -> Any:
        reply(connection)
        die()

    async def exchange(connection: Any, exchange: Any, timeout: float) -> None:
        if step == "before sending":
            die()
        payload = exchange.payload
        part = payload[: len(payload) // 2] if step == "inside sending" else payload
        os.write(connection.writer.transport.get_extra_info("socket").fileno(), part)
        if step == "after the reply":
            await connection.reader.read(65536)
        die()

    threads.Connection.send = sync_send  # type: ignore[method-assign]
    threads.Connection.reply = sync_reply  # type: ignore[method-assign]
    aio.Connection.exchange = exchange  # type: ignore[method-assign]
    return die


def publish_all(bridge: Bridge, step: str | None) -> None:
    for number in range(EVENTS if step is None else 2):
        dead = die_at(step) if step is not None and number == 1 else None
        bridge.publish("a", {"n": number}, idempotency_key=f"event-{number}")
        if dead is not None:
            dead()


async def apublish_all(bridge: Bridge, step: str | None) -> None:
    for number in range(EVENTS if step is None else 2):
        dead = die_at(step) if step is not None and number == 1 else None
        await bridge.apublish("a", {"n": number}, idempotency_key=f"event-{number}")
        if dead is not None:
            dead()
    await bridge.aclose()


def child(bridge: Bridge, colour: str, step: str | None) -> int:
    """Forks; the child's process id."""
    pid = os.fork()
    if pid == 0:
        try:
            if colour == "async":
                asyncio.run(apublish_all(bridge, step))
            else:
                publish_all(bridge, step)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def main(url: str, colour: str, how: str, seed: str) -> None:
    bridge = Bridge(url, replay_size=10_000)
    killed = 0
    if how == "steps":
        for step in STEPS:
            killed += os.WIFSIGNALED(os.waitpid(child(bridge, colour, step), 0)[1])
        assert killed == len(STEPS), killed
    else:
        chance = random.Random(seed)
        for _ in range(KILLS):
            pid = child(bridge, colour, None)
            time.sleep(chance.uniform(0.0, 0.04))
            os.kill(pid, signal.SIGKILL)
            killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    status = os.waitpid(child(bridge, colour, None), 0)[1]
    assert os.waitstatus_to_exitcode(status) == 0, status
    print(killed)


if __name__ == "__main__":
    main(*sys.argv[1:])
