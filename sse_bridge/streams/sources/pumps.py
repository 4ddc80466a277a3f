"""Pumps draw items from a source and keep their frames until the body takes them; `drivers` picks the pump.

The body takes all frames that are there, up to one write, and the source waits while that much is waiting. No item
waits for the next one to fill a write.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from typing_extensions import override

from ...runtime.containment import is_strange
from ...runtime.wakers import new_waker
from .iterables import async_source, close_async, close_sync, is_sync, keep, sync_source
from .script import Pump, SourceScript

# A source that computes without waiting blocks its loop, so `TaskPump` yields to the loop this often.
TURN_SECONDS: Final = 0.001

logger = logging.getLogger("sse_bridge.streams")


class InlinePump(Pump):
    """A sync source on the thread that consumes it: each `wait` makes one item.

    Each item leaves by itself, since the next one may take long; only the items of a list or tuple are joined.
    """

    def __init__(self, script: SourceScript, source: Any) -> None:
        super().__init__(script, source)
        self._iterator: Iterator[Any] | None = None
        self._all_there = False
        self._busy = False
        self._closed = False

    def wait(self, until: float) -> None:
        """Returns after the next item or the source's end; `until` cannot interrupt the source."""
        self._busy = True
        try:
            self._make()
        finally:
            self._busy = False
            if self.stopped:  # by another thread, which cannot close a running generator
                self._close()

    @override
    def stop(self) -> None:
        self.stopped = True
        if not self._busy:
            self._close()

    def _make(self) -> None:
        try:
            if self._iterator is None:
                made = sync_source(self._source)
                if not is_sync(made):
                    self.other_colour = made
                    return
                self._iterator = iter(made)
                self._all_there = isinstance(made, (list, tuple))
            for item in self._iterator:
                frame = self._script.frame(item)
                if frame:
                    self.put(frame)
                if self.full or not self._all_there:
                    return
            self.finish(self._script.completed())
        except BaseException as error:
            if not isinstance(error, Exception) and not is_strange(error):
                raise  # a signal handler, or the killing of this greenlet, may have raised it
            self.failed(error)
            self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            close_sync(self._iterator if self._iterator is not None else self._source)


class TaskPump(Pump):
    """An async source in one task of a loop. All methods are for the loop's thread."""

    def __init__(
        self, script: SourceScript, source: Any, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]
    ) -> None:
        super().__init__(script, source)
        self._loop = loop
        self.wake = wake
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancellable = False

    def start(self) -> None:
        self._task = keep(self._loop, self._run())
        self._task.add_done_callback(self.over)

    @override
    def take(self) -> bytes:
        data = super().take()
        room = self._room
        if room is not None and not room.done() and not self.full:
            room.set_result(None)
        return data

    @override
    def stop(self) -> None:
        """Cancels the source where it waits; its own task closes it. Idempotent."""
        if not self.stopped:
            self.stopped = True
            if self._cancellable and self._task is not None:
                self._task.cancel()

    async def ended(self) -> None:
        """Waits until the source is closed. Safe to cancel."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        iterator: Any = self._source
        self._cancellable = True  # from here on a cancellation reaches the finally below
        try:
            if not self.stopped:
                made = await async_source(self._source)
                if hasattr(made, "__aiter__"):
                    iterator = aiter(made)
                    if await self._pump(iterator):
                        self.finish(self._script.completed())
                else:
                    self.other_colour = made
        except asyncio.CancelledError as error:
            if not self.stopped:
                self.failed(error)
                raise
        except BaseException as error:
            self.failed(error)
            if not isinstance(error, Exception) and not is_strange(error):
                raise  # a signal handler may have raised it on the loop's thread, to end the loop
        finally:
            self._cancellable = False  # the end of a source is not interrupted
            self.wake()
            await close_async(iterator)

    async def _pump(self, iterator: AsyncIterator[Any]) -> bool:
        """Whether it came to the source's own end."""
        turn = time.monotonic()
        async for item in iterator:
            frame = self._script.frame(item)
            if frame:
                self.put(frame)
                self.wake()
            if self.stopped:
                return False
            if self.full:
                self._room = self._loop.create_future()
                await self._room
            elif time.monotonic() - turn > TURN_SECONDS:
                await asyncio.sleep(0)
                turn = time.monotonic()
        return True


class ThreadPump(Pump):
    """A sync source on its own thread (a greenlet, where threading is patched); the body calls `take` and `stop`.

    `wake` is called on either thread and must not block.
    """

    def __init__(self, script: SourceScript, source: Any, wake: Callable[[], None]) -> None:
        super().__init__(script, source)
        self.wake = wake
        self._lock = threading.Lock()
        self._room = new_waker()

    def start(self) -> None:
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self.run,), name="sse_bridge-source", daemon=True).start()

    @override
    def take(self) -> bytes:
        with self._lock:
            was_full = self.full
            data = super().take()
            room = was_full and not self.full
        if room:
            self._room.wake()
        return data

    @override
    def put(self, frame: bytes) -> None:
        with self._lock:
            first = self.empty
            super().put(frame)
        if first:  # a body that took frames looks again before it waits, so further frames need no wake
            self.wake()

    @override
    def stop(self) -> None:
        """Has the source's thread close it after the current item; idempotent."""
        self.stopped = True
        self._room.wake()

    def run(self) -> None:
        """Runs the source from its first step to its close."""
        iterator: Any = self._source
        try:
            if not self.stopped:
                made = sync_source(self._source)
                if is_sync(made):
                    iterator = iter(made)
                    if self._pump(iterator):
                        self.finish(self._script.completed())
                else:
                    self.other_colour = made
        except BaseException as error:  # noqa: BLE001  # SystemExit too, which a thread swallows silently
            self.failed(error)
        finally:
            self.wake()
            try:
                close_sync(iterator)
            except BaseException:
                logger.exception("closing a source failed")

    def _pump(self, iterator: Iterator[Any]) -> bool:
        """Whether it came to the source's own end."""
        for item in iterator:
            frame = self._script.frame(item)
            if frame:
                self.put(frame)
            while self.full and not self.stopped:
                self._room.wait()
            if self.stopped:
                return False
        return True
