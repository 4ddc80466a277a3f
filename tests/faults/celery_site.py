"""A Celery app whose tasks follow a channel in the worker's children; the worker itself has followed it before it forks."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from sse_bridge import get_bridge, publish

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
    publish("answers", {"pid": os.getpid(), "offsets": seen})
