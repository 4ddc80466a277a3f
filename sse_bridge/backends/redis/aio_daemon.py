"""A task that restarts when a stranger cancels it. The twin of `sse_bridge.runtime.daemon` for event loops.

A program that cancels all tasks of its loop, and then goes on, cannot tell ours from its own. A task cancelled before its
first step runs none of its lines, not even ``finally``, so a done callback decides whether to restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

AGAIN_SECONDS: Final = 0.5  # before a restart; a loop that shuts down has ended by then, or cancels the task again

log = logging.getLogger("sse_bridge.redis")


class LoopDaemon:
    """One task at a time, on the loop that makes this."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._work = work
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Starts the task, unless it runs or `close` was called."""
        if self._closed or self._task is not None:
            return
        if self._again is not None:
            self._again.cancel()
        self._task = self._loop.create_task(self._work(), name=self._name)
        self._task.add_done_callback(self._over)

    def close(self) -> None:
        """Ends the task for good. Idempotent; call on the loop, or after the loop was closed."""
        self._closed = True
        if self._loop.is_closed():
            return
        if self._again is not None:
            self._again.cancel()
        if self._task is not None:
            self._task.cancel()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("the task %r failed, and is started again", self._name, exc_info=error)
        if not self._closed and (error is not None or task.cancelled()):
            self._again = self._loop.call_later(AGAIN_SECONDS, self.start)
