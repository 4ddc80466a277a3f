"""What draws items from a source and keeps their frames until the body takes them; see `crossing` for who uses which.

The body takes whatever is there, up to one write, and the source waits while that much is waiting. An item is handed
over when it is there; nothing waits for the next one to fill a write.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import iscoroutinefunction
from typing_extensions import override

from ..errors import InvalidInput
from ..hub.wakers import new_waker

if TYPE_CHECKING:
    from .source_script import SourceScript

# A source that computes without waiting holds its loop; so often it lets the loop write what there is.
TURN_SECONDS: Final = 0.001

logger = logging.getLogger("sse_bridge.streams")

_tasks: set[asyncio.Task[None]] = set()  # a loop itself holds its tasks only weakly


class Pump:
    """The frames of one source that wait for the body; not safe for threads by itself.

    Attributes:
        finished: no frame comes any more.
        cut: the source failed, and the format has no way to say so.
        stopped: the body needs no more.
        turned: a callable made a source of the other colour, which another pump must run.
    """

    def __init__(self, script: SourceScript, source: Any) -> None:
        self.finished = False
        self.cut = False
        self.stopped = False
        self.turned: Any = None
        self._script = script
        self._source = source
        self._limit = script.max_write_bytes
        self._frames: deque[bytes] = deque()
        self._size = 0

    @property
    def empty(self) -> bool:
        return not self._frames

    @property
    def full(self) -> bool:
        """As much is waiting as one write takes."""
        return self._size >= self._limit

    def take(self) -> bytes:
        """Whole frames, as many as there are and one write may hold; empty: none is there."""
        frames = self._frames
        if not frames:
            return b""
        data = frames.popleft()
        if frames and self._script.joins:
            taken, size = [data], len(data)
            while frames and size + len(frames[0]) <= self._limit:
                size += len(frames[0])
                taken.append(frames.popleft())
            data = b"".join(taken)
        self._size -= len(data)
        return data

    def put(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._size += len(frame)

    def stop(self) -> None:
        """No more is needed: the source is closed as soon as it can be. Idempotent."""
        self.stopped = True

    def finish(self, last: tuple[bytes, ...] | None) -> None:
        """The last frames, which may be empty; None: the connection must be cut."""
        for frame in last or ():
            if frame:
                self.put(frame)
        self.cut = last is None
        self.finished = True

    def failed(self, error: BaseException) -> None:
        if self.stopped:
            logger.warning("a source failed while it was stopped", exc_info=error)
        else:
            self.finish(self._script.failed(error))


class DirectPump(Pump):
    """A sync source on the thread that consumes it: each `wait` makes one item.

    Whether the next one is ready nobody can know, so each leaves by itself; those of a list are.
    """

    def __init__(self, script: SourceScript, source: Any) -> None:
        super().__init__(script, source)
        self._iterator: Iterator[Any] | None = None
        self._all_there = False
        self._busy = False
        self._closed = False

    def wait(self, until: float) -> None:
        """Returns when there is another item, or none, whatever `until` says."""
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
                    self.turned = made
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
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # it is logged
            self.failed(error)
            self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            close_sync(self._iterator if self._iterator is not None else self._source)


class TaskPump(Pump):
    """An async source in one task of a loop. Everything here runs on the loop's thread."""

    def __init__(
        self, script: SourceScript, source: Any, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]
    ) -> None:
        super().__init__(script, source)
        self._loop = loop
        self._wake = wake
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancellable = False

    def start(self) -> None:
        self._task = keep(self._loop, self._run())

    @override
    def take(self) -> bytes:
        data = super().take()
        room = self._room
        if room is not None and not room.done() and not self.full:
            room.set_result(None)
        return data

    @override
    def stop(self) -> None:
        """Cancels the source where it waits; it is closed in its own task. Idempotent."""
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
                    self.turned = made
        except asyncio.CancelledError as error:
            if not self.stopped:
                self.failed(error)
                raise
        except Exception as error:  # noqa: BLE001  # it is logged
            self.failed(error)
        finally:
            self._cancellable = False  # the end of a source is not interrupted
            self._wake()
            await close_async(iterator)

    async def _pump(self, iterator: AsyncIterator[Any]) -> bool:
        """Whether it came to the source's own end."""
        turn = time.monotonic()
        async for item in iterator:
            frame = self._script.frame(item)
            if frame:
                self.put(frame)
                self._wake()
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
    """A sync source on a thread (a greenlet, where threading is patched) of its own; `take` and `stop` from the body's.

    `wake` may be called on either thread and must not block.
    """

    def __init__(self, script: SourceScript, source: Any, wake: Callable[[], None]) -> None:
        super().__init__(script, source)
        self._wake = wake
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
        if first:  # a body that found something looks again before it waits
            self._wake()

    @override
    def stop(self) -> None:
        """The source is closed when it comes back from what it does; idempotent."""
        self.stopped = True
        self._room.wake()

    def run(self) -> None:
        """The whole life of the source."""
        iterator: Any = self._source
        try:
            if not self.stopped:
                made = sync_source(self._source)
                if is_sync(made):
                    iterator = iter(made)
                    if self._pump(iterator):
                        self.finish(self._script.completed())
                else:
                    self.turned = made
        except BaseException as error:  # noqa: BLE001  # SystemExit too: nobody would see it on this thread
            self.failed(error)
        finally:
            self._wake()
            close_sync(iterator)

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


def keep(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that lives until it is done, whoever forgets it."""
    task = loop.create_task(coroutine)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


def is_sync(source: Any) -> bool:
    return hasattr(source, "__iter__")


def is_async(source: Any) -> bool:
    return hasattr(source, "__aiter__")


def begins_async(source: Any, *, prefer_async: bool) -> bool:
    """Whether a `TaskPump` should begin. What is iterable in both colours (a Django QuerySet) takes the body's own."""
    if is_sync(source) or is_async(source):
        return is_async(source) and (prefer_async or not is_sync(source))
    return inspect.isasyncgenfunction(source) or iscoroutinefunction(source)


def sync_source(source: Any) -> Any:
    """The sync iterable that a source is or makes; what is async comes back as it is."""
    made = source if is_sync(source) or is_async(source) or not callable(source) else source()
    if is_sync(made) or is_async(made) or inspect.isawaitable(made):
        return made
    raise _no_source(source, made)


async def async_source(source: Any) -> Any:
    """The twin of `sync_source`."""
    made = source if is_async(source) or not callable(source) else source()
    if inspect.isawaitable(made):
        made = await made
    if is_async(made) or is_sync(made):
        return made
    raise _no_source(source, made)


def _no_source(source: Any, made: Any) -> InvalidInput:
    return InvalidInput(f"a source must be or make an iterable, sync or async; {source!r:.120} made {made!r:.120}")


def needs_aclose(source: Any) -> bool:
    """Whether an async iterator that never started may hold something; a generator holds nothing yet."""
    return hasattr(source, "__anext__") and hasattr(source, "aclose") and not inspect.isasyncgen(source)


def drop(source: Any) -> None:
    """Gives back what was made and never started."""
    if inspect.iscoroutine(source):
        source.close()  # else Python warns that it was never awaited
    else:
        close_sync(source)


def close_sync(iterator: Any) -> None:
    """Closes what was handed over to be consumed; never raises. What can be iterated again is not ours to close."""
    close = getattr(iterator, "close", None)
    if close is not None and hasattr(iterator, "__next__"):
        try:
            close()
        except Exception:
            logger.exception("closing a source failed")


async def close_async(iterator: Any) -> None:
    """The twin of `close_sync`."""
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None and hasattr(iterator, "__anext__"):
        try:
            await aclose()
        except Exception:
            logger.exception("closing a source failed")
