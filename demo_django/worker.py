"""Celery: with a broker in memory and a worker in this process, or with Redis and `celery -A demo_django.worker worker`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery
from celery.worker import WorkController

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_django.settings")  # Celery then sets Django up in its workers

app = Celery("demo_django", broker=os.environ.get("DEMO_BROKER_URL", "memory://"), include=["demo_django.tasks"])
app.conf.update(
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,  # a run lasts for seconds: a free child should take it, not a busy one's queue
)


@contextmanager
def embedded_worker(threads: int = 16) -> Iterator[None]:
    """A Celery worker on threads of this process; it ends, when the bridge is closed, with the tasks it runs."""
    worker = WorkController(app=app, pool_cls="threads", concurrency=threads, without_heartbeat=True,
                            without_mingle=True, without_gossip=True, loglevel="WARNING")  # fmt: skip
    thread = threading.Thread(target=worker.start, name="celery-worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(5)
