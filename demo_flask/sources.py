"""What publishes. Nothing here knows of Flask or gevent: under gevent a thread is a greenlet, elsewhere a thread."""

from __future__ import annotations

import logging
import random
import time
from typing import Final

from sse_bridge import Bridge
from sse_bridge.errors import BackendError, BridgeClosed

TICKER: Final = "ticker"
JOBS: Final = "jobs"

TICK_SECONDS: Final = 0.25
STEP_SECONDS: Final = 0.12
FILES: Final = ("customers.csv", "orders.csv", "invoices.csv", "stock.csv")

logger = logging.getLogger("demo_flask")


def tick(bridge: Bridge) -> None:
    """Prices that wander, for ever; a broker that is away for a while is waited for."""
    prices = {"Copper": 412.0, "Cocoa": 288.0, "Cotton": 77.0}
    while True:
        name = random.choice(list(prices))
        prices[name] *= random.uniform(0.994, 1.006)
        try:
            bridge.publish(TICKER, {"name": name, "price": round(prices[name], 2)}, type="price")
        except BridgeClosed:
            return
        except BackendError as error:
            logger.warning("no price published: %s", error)
        time.sleep(TICK_SECONDS)


def work(bridge: Bridge, job: str) -> None:
    """An import of several files; each step is told, so a reader who comes late or back sees how far it is."""
    bridge.publish(JOBS, {"job": job, "files": list(FILES)}, type="job.started")
    for file in FILES:
        for percent in range(10, 101, 10):
            time.sleep(STEP_SECONDS * random.uniform(0.5, 1.5))
            bridge.publish(JOBS, {"job": job, "file": file, "percent": percent}, type="job.progress")
    bridge.publish(JOBS, {"job": job}, type="job.completed")
