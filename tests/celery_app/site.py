"""A Celery app for the tests' workers; broker and results on the Redis of BROKER_URL, events where SSE_BRIDGE_URL says."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from celery import Celery
from celery.exceptions import Ignore, SoftTimeLimitExceeded

from sse_bridge import publish
from sse_bridge_celery import follow_tasks, progress

broker = os.environ.get("BROKER_URL", "memory://")
app = Celery("site", broker=broker, backend=broker if broker.startswith("redis") else "cache+memory://")
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1, result_expires=60)
follower = follow_tasks(app, progress_seconds=0.0)

# In the worker's main process, before it forks or patches: what a child inherits must not be shared.
if "EVENTS" not in os.environ and broker.startswith("redis"):
    publish("before-the-fork", os.getpid())


@app.task
def publishing(channel: str, count: int) -> list[Any]:
    for n in range(count):
        publish(channel, {"n": n, "pid": os.getpid(), "thread": threading.get_ident()}, type="n")
    return [os.getpid(), threading.get_ident(), follower.failures]


@app.task(bind=True)
def export(self: Any, rows: int) -> dict[str, int]:
    for n in range(1, rows + 1):
        progress(self, n, rows, "row")
    return {"rows": rows}


@app.task
def failing() -> None:
    raise ValueError("a secret")


@app.task(bind=True, max_retries=2)
def flaky(self: Any) -> str:
    if self.request.retries < 2:
        raise self.retry(
            exc=RuntimeError("a secret"), countdown=1
        )  # sooner, the next run may start before Celery tells of the retry
    return "at last"


@app.task
def endless() -> None:
    time.sleep(60)  # until the worker ends it


@app.task
def unspeakable(size: int) -> Any:
    return "x" * size


@app.task
def ignoring() -> None:
    raise Ignore


@app.task(bind=True, soft_time_limit=1)
def limited(self: Any) -> str:
    try:
        while True:
            progress(self, 1, 2)
    except SoftTimeLimitExceeded:
        return "in time"
