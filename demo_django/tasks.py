"""What runs apart from requests, in a Celery worker. Nobody here knows whether a browser is connected."""

from __future__ import annotations

import logging
import time
from typing import Final

from sse_bridge import get_bridge, publish
from sse_bridge.errors import BridgeClosed

from . import agent
from .orders import LOAD, ORDERS, new_order
from .worker import app

TOKEN_SECONDS: Final = 0.04  # 25 words a second: a quick model, and slow enough to cut the connection
STEP_SECONDS: Final = 0.35  # for eyes only; the search itself takes a millisecond
TICKS_PER_SECOND: Final = 20  # of the load, which is published in batches

logger = logging.getLogger("demo_django")


@app.task
def answer(run: str, question: str) -> None:
    """One run of the agent: its events go to the channel of the run, whose end is stored at last.

    Between two events it listens for a stop, so the pause of the pace is the time in which it can be stopped.
    """
    channel, outcome = f"run:{run}", "failed"
    bridge = get_bridge()
    try:
        # From the earliest: a stop that was pressed before the worker came here counts too.
        with bridge.subscribe(f"stop:{run}", after="earliest") as stops:
            for type, data in agent.run(question):
                publish(channel, {**data, "at": time.time()}, type=type)
                if stops.next(timeout=TOKEN_SECONDS if type == "token" else STEP_SECONDS) is not None:
                    publish(channel, {"message": "Stopped by you"}, type="workflow_stopped")
                    outcome = "stopped"
                    break
            else:
                outcome = "completed"
    except BridgeClosed:
        return  # the demo is shutting down
    except Exception as error:
        logger.exception("the run %s failed", run)
        publish(channel, {"message": f"The agent failed: {type_name(error)}"}, type="workflow_failed")
    bridge.close_channel(channel, outcome)


@app.task
def place_orders(count: int) -> None:
    """A batch of orders, a few a second."""
    for _ in range(count):
        publish(ORDERS, new_order("Celery task"), type="order.placed")
        time.sleep(0.15)


@app.task
def make_load(rate: int, seconds: int) -> None:
    """So many events a second, for the rate plot; behind its time it publishes what is due, not more batches."""
    bridge = get_bridge()
    begun, sent = time.monotonic(), 0
    while (passed := time.monotonic() - begun) < seconds:
        due = int(passed * rate) - sent
        bridge.publish_many([(LOAD, {"at": time.time()}, "tick")] * due)
        sent += due
        time.sleep(1 / TICKS_PER_SECOND)


def type_name(error: Exception) -> str:
    """The class only: an exception's text may hold what a browser should not see."""
    return type(error).__name__
