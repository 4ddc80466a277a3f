"""A Celery worker whose two prefork children publish; its broker is a folder, so that Redis may be killed meanwhile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_ready

from sse_bridge import publish
from tests.acceptance.publishers import FOLDER, work

broker = Path(os.environ[FOLDER]) / "broker"
for name in ("queue", "control"):
    (broker / name).mkdir(parents=True, exist_ok=True)

app = Celery("acceptance", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(broker / "queue"),
        "data_folder_out": str(broker / "queue"),
        "control_folder": str(broker / "control"),
        "polling_interval": 0.05,
    },
    worker_prefetch_multiplier=1,  # each child takes one of the two tasks
    task_ignore_result=True,
)

# Used before the fork: what the children inherit must not be shared by them.
publish("before-the-fork", {})


@app.task
def publishing(name: str) -> None:
    work(name, publish)


@worker_ready.connect
def begin(**_: Any) -> None:
    for name in os.environ["NAMES"].split():
        publishing.delay(name)
