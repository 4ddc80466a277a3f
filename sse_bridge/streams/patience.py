"""How long a stream waits for a client that takes nothing: a moment after its end is due its write is given up.

For streams whose sends we await ourselves, in one task: iterables into an ASGI server, and WebSocket sessions. (Streams of
channels are pushed and know it by themselves.) One timer per stream, set when its end is known; nothing per write but a
flag. On the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .pacing import LAST_WRITE_SECONDS

logger = logging.getLogger("sse_bridge.streams")


class Patience:
    """See the module.

    Args:
        wait: what waits for the client: an ASGI server's `send`, or the like.

    Attributes:
        give_up: cancels the task that waits in `send`; None: whoever serves has no such task, and waits for ever.
        lost: a write was given up: nothing more can be sent.
    """

    def __init__(self, wait: Callable[[Any], Awaitable[None]]) -> None:
        self.give_up: Callable[[], Any] | None = None
        self.lost = False
        self._wait = wait
        self._sending = False
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, message: Any) -> None:
        self._sending = True
        try:
            await self._wait(message)
        finally:
            self._sending = False

    def until(self, when: float) -> None:
        """A write that waits at `when` (`time.monotonic`) is given up; another call takes the place of this one."""
        self._stop()
        if when < math.inf and self.give_up is not None:
            delay = max(0.0, when - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._ring)

    def close(self) -> None:
        """Nothing is sent any more; idempotent. Lets go of the task, which may hold whoever holds this."""
        self.give_up = None
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._sending and self.give_up is not None:
            self.lost = True
            logger.warning("ending a stream whose client takes nothing")
            self.give_up()
        else:  # its last words are still to come
            self.until(time.monotonic() + LAST_WRITE_SECONDS)
