"""The limit for a write that the client does not take: the write is given up a moment after the stream's end is due.

For streams that await their sends in one task: iterables into an ASGI server, and WebSocket sessions; pushed streams
have their own limit. The task of a WebSocket session also awaits the application's hooks, and none of them may keep a
session beyond its end. One timer per stream, set when its end is known, and a flag per write. On the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .ending import LAST_WRITE_SECONDS

logger = logging.getLogger("sse_bridge.streams")


class WriteTimeout:
    """See the module.

    Args:
        wait: an ASGI server's `send`, or another call that waits for the client.
        hooks: the task awaits hooks, too: a hook that takes longer is given up as well, another second later.

    Attributes:
        give_up: cancels the task that waits in `send`; None: there is no such task, and a write waits for ever.
        gave_up: `give_up` was called.
        lost: a write was given up: nothing more can be sent.
        sending: a write is under way.
    """

    def __init__(self, wait: Callable[[Any], Awaitable[None]], *, hooks: bool = False) -> None:
        self.give_up: Callable[[], Any] | None = None
        self.gave_up = False
        self.lost = False
        self._wait = wait
        self._hooks = hooks
        self._late = False
        self.sending = False
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, message: Any) -> None:
        self.sending = True
        try:
            await self._wait(message)
        finally:
            self.sending = False

    def until(self, when: float) -> None:
        """Gives up a write that still waits at `when` (`time.monotonic`); replaces an earlier call."""
        self._stop()
        self._late = False
        if when < math.inf and self.give_up is not None:
            delay = max(0.0, when - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._ring)

    def end(self) -> None:
        """Cancels the task's wait now, for a write or a hook; idempotent."""
        self._stop()
        if self.give_up is None or self.gave_up:
            return
        self.gave_up, self.lost = True, self.sending
        if self.lost:
            logger.warning("ending a stream whose client takes nothing")
        else:
            logger.warning("ending a stream whose hook does not come to its end")
        self.give_up()

    def close(self) -> None:
        """Ends the timeout after the last send, and releases the task, to leave no reference cycle; idempotent."""
        self.give_up = None
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self.sending or self._late:
            self.end()
        elif self.give_up is not None:  # the stream's last frames are still to come
            self.until(time.monotonic() + LAST_WRITE_SECONDS)
            self._late = self._hooks
