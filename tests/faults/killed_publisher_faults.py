"""SIGKILL of a publisher at every step of a publish, and at random moments: each event is there once."""

from __future__ import annotations

import signal
from itertools import pairwise
from typing import Final

from sse_bridge import Bridge
from tests.faults.killed_publisher import EVENTS, STEPS
from tests.faults.registry import Scale, Tally, guarantee
from tests.support.process import Process
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

COLOURS: Final = ("sync", "async")


@guarantee(
    "A publisher killed at each step of a publish", part="Processes", promise="once, also after the caller's retry"
)
def killed_at_each_step(scale: Scale) -> Tally:
    tally = Tally()
    for colour in COLOURS:
        killed = _publish(tally, colour, "steps", 0)
        if killed != len(STEPS):
            tally.wrong.append(f"{colour}: {killed} of {len(STEPS)} publishers were killed")
    return tally


@guarantee(
    "Publishers killed at random moments", part="Processes", promise="once and in order, also after the caller's retry"
)
def killed_at_random(scale: Scale) -> Tally:
    tally = Tally()
    for seed in range(scale.pick(1, 4)):
        for colour in COLOURS:
            _publish(tally, colour, "random", seed)
    return tally


def _publish(tally: Tally, colour: str, how: str, seed: int) -> int:
    """Publishers that are killed, one after the other; adds what a reader saw and says how many they were."""
    with (
        RedisServer() as redis,
        Bridge(redis.url, replay_size=10_000) as bridge,
        bridge.subscribe("a") as stream,
    ):
        assert stream.wait_ready(60)
        command = ["python", "-m", "tests.faults.killed_publisher", redis.url, colour, how, str(seed)]
        with Process(command) as process:
            assert process.wait(60) == 0, process.output
            killed = int(process.output.split()[-1])
        seen: list[int] = []
        while len(set(seen)) < EVENTS:
            event = stream.next(timeout=60)
            if event is None:
                break
            seen.append(event.data["n"])
        stored = [event.data["n"] for event in bridge.history("a", limit=10_000)]
    tally.published += EVENTS
    tally.faults += killed
    tally.lost += EVENTS - len(set(seen))
    tally.doubled += len(seen) - len(set(seen))
    # Every publisher begins with event 0, and what is there already is recognised: so order is kept over their deaths.
    tally.reordered += sum(later < earlier for earlier, later in pairwise(seen))
    if stored != seen:
        tally.wrong.append(f"the log holds {len(stored)} events, the reader saw {len(seen)}")
    return killed


_HELD: Final = """
import signal, sys
from sse_bridge import Bridge
from sse_bridge.backends.redis.threads import Connection
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
bridge = Bridge(sys.argv[1])
bridge.publish("a", 0)
print("ready", flush=True)
signal.sigwait({signal.SIGUSR1})
reply = Connection.reply
Connection.reply = lambda connection: print("sent", flush=True) or reply(connection)
bridge.publish("a", 1, idempotency_key="k")
"""


@guarantee(
    "A publisher killed while the network holds its bytes, which arrive after its successor's retry",
    part="Processes",
    promise="once",
)
def delivered_after_death(scale: Scale) -> Tally:
    tally = Tally()
    with RedisServer() as redis, Bridge(redis.url) as bridge, bridge.subscribe("a") as stream:
        assert stream.wait_ready(60)
        for number in range(scale.pick(1, 5)):
            with Proxy(redis.port) as network, Process(["python", "-c", _HELD, network.redis_url]) as process:
                wait_for(lambda: "ready" in process.output)
                network.hold()
                process.signal(signal.SIGUSR1)
                wait_for(lambda: "sent" in process.output)
                process.kill()
                bridge.publish("a", 1, idempotency_key="k")
                before = _appends(redis)
                network.flow()
                wait_for(lambda before=before: _appends(redis) > before, what="the dead publisher's bytes to arrive")
            bridge.publish("a", 2)
            seen = [stream.next(timeout=60) for _ in range(3 if number == 0 else 2)]
            data = [None if event is None else event.data for event in seen]
            expected = [0, 1, 2] if number == 0 else [0, 2]  # under the same key: the first publisher's event
            tally.faults += 1
            tally.published += len(expected)
            tally.lost += len(set(expected) - set(data))
            tally.doubled += len(data) - len(set(data))
            if data != expected:
                tally.wrong.append(f"expected {expected}, got {data}")
    return tally


def _appends(redis: RedisServer) -> int:
    """How many scripts this Redis has run."""
    answer = redis.command("INFO", "commandstats").decode()
    lines = [line for line in answer.splitlines() if line.startswith(("cmdstat_evalsha:", "cmdstat_eval:"))]
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines)
