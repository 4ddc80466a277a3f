"""Events per second and latency in this process, as its own reader sees them; twice a second, to whoever looks.

The samples are ephemeral (``store=False``): nobody who comes back wants the old ones.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from statistics import median
from typing import Any, Final

from sse_bridge import apublish, get_bridge
from sse_bridge.errors import BackendError

from .orders import LOAD, ORDERS

SAMPLE_SECONDS: Final = 0.5

logger = logging.getLogger("demo_django")


def meter_channel() -> str:
    """The channel of this process's samples; each web worker has its own."""
    return f"meter:{os.getpid()}"


class Meter:
    """ASGI middleware that starts to measure at the first request: only then is there a loop to do it on."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if self._task is None:
            self._task = asyncio.create_task(_measure())
        await self.app(scope, receive, send)


async def _measure() -> None:
    async with get_bridge().asubscribe([ORDERS, LOAD]) as stream:
        while not stream.closed:
            delays: list[float] = []
            begun = time.monotonic()
            while (left := begun + SAMPLE_SECONDS - time.monotonic()) > 0:
                event = await stream.next(timeout=left)
                if event is not None and not event.type.startswith("stream."):
                    delays.append(time.time() - event.data["at"])
            try:
                await apublish(meter_channel(), _sample(delays, time.monotonic() - begun), type="meter", store=False)
            except BackendError as error:
                logger.warning("the meter could not publish: %s", error)


def _sample(delays: list[float], seconds: float) -> dict[str, Any]:
    """Publish to reader: the median and the 99th percentile in milliseconds; null in a quiet moment."""
    delays.sort()
    return {
        "rate": round(len(delays) / seconds, 1),
        "median_ms": round(median(delays) * 1000, 3) if delays else None,
        "p99_ms": round(delays[int(len(delays) * 0.99)] * 1000, 3) if delays else None,
        "pid": os.getpid(),
    }
