"""F5: what publishing costs the publisher, and Redis. `python -m benchmarks.publishing '{"url": …}'` prints JSON.

All ways take turns within one process, on one connection each, so that the machine's drift hits all of them. The anchor
is the append script itself, by EVALSHA through redis-py with arguments made beforehand: what nobody can avoid. What a
command costs Redis is its process's CPU while pipelines keep it busy, with XADD and PUBLISH beside the script: between
commands that come one by one it sleeps, and most of its CPU is waking up.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from benchmarks.publish import event
from sse_bridge import Bridge, Json
from sse_bridge.publishing.publication import single

ROUNDS = 7
SINGLES = 2000  # events per way and round
PIPELINE = 100
TASKS = 100
SUBSCRIBERS = 50  # connections to which one PUBLISH goes: as many processes with readers


class Meter:
    """Collects µs per event of wall time, of the client's CPU, inside Redis's command and of Redis's CPU, per way."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.samples: defaultdict[str, list[tuple[float, float, float, float]]] = defaultdict(list)

    @contextmanager
    def measured(self, way: str, events: int) -> Iterator[None]:
        self._client.config_resetstat()
        broker = used(self._client)
        cpu, began = time.process_time(), time.perf_counter()
        yield
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        broker = used(self._client) - broker
        commands = self._client.info("commandstats")
        inside = sum(commands.get(f"cmdstat_{name}", {}).get("usec", 0) for name in ("evalsha", "publish", "xadd"))
        if not way.startswith("publish_"):
            inside -= commands.get("cmdstat_publish", {}).get("usec", 0)  # part of the script's time already
        per_event = 1e6 / events
        self.samples[way].append((seconds * per_event, cpu * per_event, inside / events, broker * per_event))

    def medians(self) -> dict[str, dict[str, float]]:
        keys = ("us", "client_cpu_us", "redis_us", "redis_cpu_us")
        return {
            way: dict(zip(keys, map(statistics.median, zip(*samples, strict=True)), strict=True))
            for way, samples in self.samples.items()
        }


def used(client: redis.Redis) -> float:
    """Redis's CPU so far, in seconds, of its thread that executes commands."""
    info = client.info("cpu")
    return float(info["used_cpu_user_main_thread"]) + float(info["used_cpu_sys_main_thread"])


def in_pipelines(client: redis.Redis, commands: Sequence[Sequence[Any]]) -> None:
    for start in range(0, len(commands), PIPELINE):
        with client.pipeline(transaction=False) as pipeline:
            for command in commands[start : start + PIPELINE]:
                pipeline.execute_command(*command)
            pipeline.execute()


def appends(bridge: Bridge, data: Json, count: int) -> list[tuple[Any, ...]]:
    """So many commands, each of which appends one event."""
    codec = bridge.backend._codec  # type: ignore[attr-defined]  # the only way to send exactly what the library sends
    batches = [single(bridge.settings, "bare", data, None, "user_facing", True, None) for _ in range(count)]
    return [("EVALSHA", codec.append_script.sha, *codec.append(batch, None)) for batch in batches]


def fan_out(client: redis.Redis, payload: bytes) -> float:
    """Redis's CPU, in µs, for carrying one message to one more subscriber: what many workers cost."""

    def publish(channel: str) -> float:
        before = used(client)
        for _ in range(SINGLES):
            client.publish(channel, payload)
        return used(client) - before

    address = client.connection_pool.connection_kwargs
    alone = publish("nobody")
    subscribers = selectors.DefaultSelector()
    for _ in range(SUBSCRIBERS):
        subscriber = socket.create_connection((address["host"], address["port"]))
        subscriber.sendall(b"SUBSCRIBE fan\r\n")
        subscriber.recv(1024)
        subscribers.register(subscriber, selectors.EVENT_READ)
    heard, expected = 0, SINGLES * SUBSCRIBERS * len(payload)

    def listen() -> None:
        nonlocal heard
        while heard < expected:
            for key, _ in subscribers.select():
                heard += len(key.fileobj.recv(1 << 20))  # type: ignore[union-attr]

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    together = publish("fan")
    listener.join()
    for key in list(subscribers.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    return (together - alone) / (SINGLES * SUBSCRIBERS) * 1e6


async def concurrently(bridge: Bridge, meter: Meter, data: Json, way: str, channels: int, rounds: int) -> None:
    """`TASKS` tasks that publish one after the other, over one channel or as many."""

    async def task(number: int, events: int) -> None:
        for _ in range(events):
            await bridge.apublish(f"{way}{number % channels}", data)

    await asyncio.gather(*(task(number, 2) for number in range(TASKS)))  # connections and scripts
    each = SINGLES * 2 // TASKS
    for _ in range(rounds):
        with meter.measured(way, each * TASKS):
            await asyncio.gather(*(task(number, each) for number in range(TASKS)))
    await bridge.aclose()


def main() -> None:
    url = json.loads(sys.argv[1])["url"]
    data = Json(event(0, 0, 200))
    bridge, client = Bridge(url), redis.Redis.from_url(url)
    meter = Meter(client)
    payload = event(0, 0, 200)
    bridge.publish("warm", data)
    client.publish("warm", b"{}")

    for _ in range(ROUNDS):
        commands = appends(bridge, data, SINGLES)
        with meter.measured("bare", SINGLES):
            for command in commands:
                client.execute_command(*command)
        commands = appends(bridge, data, SINGLES)
        with meter.measured("bare_pipelined", SINGLES):
            in_pipelines(client, commands)
        with meter.measured("xadd_pipelined", SINGLES):
            in_pipelines(client, [("XADD", "anchor", "*", "data", payload)] * SINGLES)
        client.delete("anchor")
        with meter.measured("publish_pipelined", SINGLES):
            in_pipelines(client, [("PUBLISH", "anchor", payload)] * SINGLES)
        with meter.measured("publish", SINGLES):
            for _ in range(SINGLES):
                bridge.publish("one", data)
        with meter.measured("publish_redis", SINGLES):
            for _ in range(SINGLES):
                client.publish("one", payload)
        for way, channels in (("many", 1), ("many_spread", 100)):
            items = [(f"{way}{number % channels}", data) for number in range(100)]
            with meter.measured(way, 100 * 20):
                for _ in range(20):
                    bridge.publish_many(items)
    for way, channels in (("apublish", 1), ("apublish_spread", TASKS)):
        asyncio.run(concurrently(Bridge(url), meter, data, way, channels, ROUNDS))
    paired = zip(meter.samples["publish"], meter.samples["bare"], strict=True)
    ratio = statistics.median(ours[0] / bare[0] for ours, bare in paired)
    print(json.dumps({**meter.medians(), "publish_to_bare": ratio, "fan_out_us": fan_out(client, event(0, 0, 200))}))


if __name__ == "__main__":
    main()
