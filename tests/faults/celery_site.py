"""A Celery app whose tasks follow a channel in the worker's children; the worker itself has followed it before it forks.

Some of them run out of time, wherever that finds them.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

from sse_bridge import Bridge, get_bridge, publish

PATIENCE_SECONDS = 60.0

app = Celery("site", broker=os.environ["SSE_BRIDGE_URL"], backend="disabled://")
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)

# In the worker's main process, whose hub and connections its children must not use.
warm = get_bridge().subscribe("warm", after="earliest")
publish("warm", 0)
assert warm.next(PATIENCE_SECONDS) is not None


@app.task
def follow(name: int, count: int, children: int) -> None:
    """Publishes `count` events and reads those of all children; says on the channel `answers` what it saw."""
    bridge = get_bridge()
    seen: list[Any] = []
    with bridge.subscribe("all") as stream:
        assert stream.wait_ready(PATIENCE_SECONDS)
        publish("here", name)
        with bridge.subscribe("here", after="earliest") as here:  # nobody begins before all follow
            for _ in range(children):
                assert here.next(PATIENCE_SECONDS) is not None
        for number in range(count):
            publish("all", [name, number])
        while len(seen) < count * children:
            event = stream.next(PATIENCE_SECONDS)
            if event is None:
                break
            seen.append(event.position.offset if event.position is not None else -1)
    until = time.monotonic() + PATIENCE_SECONDS / 4
    while any(left := taken(bridge)) and time.monotonic() < until:
        time.sleep(0.05)  # a reader that nobody closed is taken back at the next tick
    publish("answers", {"pid": os.getpid(), "offsets": seen, "taken": left})


@app.task
def run_out_of_time(number: int, seconds: float) -> None:
    """Publishes and follows until its soft time limit; says on the channel `over` how it ended."""
    bridge, how = get_bridge(), "not interrupted"
    try:
        until = time.monotonic() + seconds
        try:
            step = 0
            while time.monotonic() < until:
                step += 1
                publish("steps", [number, step])
                with bridge.subscribe("steps", last=1) as stream:
                    stream.next(0.01)
        except SoftTimeLimitExceeded:
            how = "interrupted"
    finally:
        publish("over", how)


def taken(bridge: Bridge) -> list[int]:
    """What this process should have given back: connections, readers, threads besides the hub's two and the main one."""
    client = bridge.backend._client  # type: ignore[attr-defined]
    connections = len(client.slots) - sum(map(len, client._idle.values()))
    return [connections, bridge.thread_hub().readers(), max(0, threading.active_count() - 3)]
