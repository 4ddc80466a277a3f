"""A source of either colour for a body of either colour.

                   sync source                               async source
    sync body      `InlineDriver`: on the consuming thread,  `PrivateLoopDriver`: a loop of its own, which
                   or `ThreadDriver`: on one of its own      the consuming thread runs while it waits
    async body     `LoopDriver` with a thread, carried by    `LoopDriver` with one task
                   asgiref

Two rules hold for all of them:

- One thread or one task drives a source from its first step to its last, `close` and ``finally`` included, so that a
  generator can close its database connection, cancel scope or context variable. A sync source under ASGI has a thread
  of its own for that reason: carried across item by item it would move from thread to thread, occupy the loop's small
  pool, and cost twenty times as much.
- A source that waits does not hold up its body, `InlineDriver` excepted: heartbeats leave, and a stop is noticed. An
  async source is cancelled where it waits. A blocked thread cannot be interrupted: the body is free at once, and the
  source is closed when it returns.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Any, cast

from asgiref.sync import sync_to_async
from typing_extensions import override

from ...errors import AsyncContextError
from ...runtime.wakers import LoopWaker, gevent_patched, new_waker
from .iterables import keep
from .pumps import InlinePump, TaskPump, ThreadPump
from .script import Pump, SourceScript


class InlineDriver:
    """A sync source on the thread of a sync body."""

    def __init__(self, script: SourceScript, source: Any) -> None:
        self.pump = InlinePump(script, source)
        self.wait = self.pump.wait

    def start(self) -> None:
        """Does nothing: the source begins at the first wait."""

    def stop(self, *, here: bool = True) -> None:
        self.pump.stop()

    def nudge(self) -> None:
        """Does nothing: the body checks its deadlines after each item."""


class ThreadDriver:
    """A sync source on a thread of its own, for a sync body."""

    def __init__(self, script: SourceScript, source: Any) -> None:
        self._waker = new_waker()
        self.pump = ThreadPump(script, source, self._waker.wake)
        self.start = self.pump.start
        self.nudge = self._waker.wake

    def wait(self, until: float) -> None:
        self._waker.wait(max(0.0, until - time.monotonic()))

    def stop(self, *, here: bool = True) -> None:
        self.pump.stop()
        self._waker.wake()


class PrivateLoopDriver:
    """An async source for a sync body; raises `AsyncContextError` on a thread that runs an event loop.

    Under gevent one thread holds many greenlets and can run one loop only, so the loop is made, run and closed on a
    native thread of its own, for which the greenlet waits. (Its selector and its sockets belong to the gevent hub of
    the thread that makes them; another thread that used them corrupts the heap.)
    """

    def __init__(self, script: SourceScript, source: Any) -> None:
        if asyncio._get_running_loop() is not None:
            raise AsyncContextError(
                "a sync body would block the event loop that runs on this thread; take async_body() here"
            )
        self._native = _native_thread()
        self._loop: asyncio.AbstractEventLoop = self._call(asyncio.new_event_loop)
        self._waker = LoopWaker(self._loop)
        self.pump = TaskPump(script, source, self._loop, self._waker.wake)
        self.start = self.pump.start  # the source's first step is at the first wait
        self.nudge = self._waker.wake_threadsafe
        self._lock = threading.Lock()  # held for decisions only
        self._waiting = False
        self._stopped = False

    def wait(self, until: float) -> None:
        try:
            with self._lock:
                if self._stopped:
                    return
                self._waiting = True  # within `try`: an exception out of a signal handler may come behind any line
            self._call(self._run, until)
        finally:
            with self._lock:
                finish = self._waiting and self._stopped and self._native is None
                self._waiting = False
            if finish:
                self._finish()

    def stop(self, *, here: bool = True) -> None:
        """Closes the source and the loop, from any thread; idempotent.

        The source is closed on return, unless another thread is in `wait`, or the caller may not wait (`here` is False).
        """
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            waiting = self._waiting
        if waiting:
            self._loop.call_soon_threadsafe(self.pump.stop)
            self.nudge()
        if self._native is not None:
            _finish_natively(self._native, self._finish, here)
        elif not waiting:
            if here and asyncio._get_running_loop() is None:
                self._finish()
            else:
                threading.Thread(target=self._finish, name="sse_bridge-source-end", daemon=True).start()

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls a function on the loop's own thread."""
        return function(*args) if self._native is None else self._native.spawn(function, *args).get()

    def _run(self, until: float) -> None:
        self._loop.run_until_complete(self._waker.wait(until))

    def _finish(self) -> None:
        try:
            self._loop.run_until_complete(self._end())
        finally:
            self._loop.close()

    async def _end(self) -> None:
        self.pump.stop()
        await self.pump.ended()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()


class LoopDriver:
    """A source of either colour for an async body, on the running loop."""

    def __init__(self, script: SourceScript, source: Any, *, is_async: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._waker = LoopWaker(self._loop)
        self.wait = self._waker.wait
        self.nudge = self._waker.wake_threadsafe
        self.pump: Pump
        if is_async:
            task_pump = TaskPump(script, source, self._loop, self._waker.wake)
            self.pump, self.start, self.ended, self._stop = task_pump, task_pump.start, task_pump.ended, task_pump.stop
        else:
            pump = ThreadPump(script, source, self._waker.wake_threadsafe)
            self.pump, self.ended, self._stop = pump, _at_once, pump.stop
            self.start = lambda: _carried(self._loop, pump)

    def stop(self, *, here: bool = True) -> None:
        """From any thread; idempotent."""
        if asyncio._get_running_loop() is self._loop:
            self._give_back()
        else:
            try:
                self._loop.call_soon_threadsafe(self._give_back)
            except RuntimeError:  # the loop is closed, and its tasks with it
                return

    def _give_back(self) -> None:
        self._stop()
        self._waker.disarm()
        self._waker.wake()


class _OwnThread(concurrent.futures.Executor):
    """An executor of one call, on a daemon thread: a source that blocks for ever must not keep a process alive."""

    @override
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:  # noqa: BLE001  # the future carries it to the loop
                    future.set_exception(error)
                else:
                    future.set_result(result)

        threading.Thread(target=run, name="sse_bridge-source", daemon=True).start()
        return future


def _carried(loop: asyncio.AbstractEventLoop, pump: ThreadPump) -> None:
    """Runs the pump on its thread; asgiref copies the context and lets `async_to_sync` there find this loop."""

    async def carry() -> None:
        try:
            # asgiref's annotation is too narrow: `run_in_executor`, to which it passes the executor, takes any.
            executor = cast(concurrent.futures.ThreadPoolExecutor, _OwnThread())
            await sync_to_async(pump.run, thread_sensitive=False, executor=executor)()
        finally:
            pump.stop()

    keep(loop, carry()).add_done_callback(pump.over)


async def _at_once() -> None:
    """Does not wait, since the source's thread may be blocked."""


def _native_thread() -> Any:
    """A gevent pool of one native thread where threading is patched; else None."""
    if not gevent_patched():
        return None
    from gevent.threadpool import ThreadPool

    return ThreadPool(1)


def _finish_natively(pool: Any, finish: Callable[[], None], here: bool) -> None:
    """Runs `finish` on the pool's thread and ends that thread; in a new greenlet unless `here`."""
    import gevent

    def run() -> None:
        try:
            pool.spawn(finish).get()
        finally:
            pool.kill()

    if here:
        run()
    else:
        gevent.spawn(run)
