"""The missing colour of a backend that has only one: asgiref carries sync calls to coroutines, a loop of its own the
other way.

Each call costs a switch of threads, for third-party backends only; the backends of this library have both colours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

from asgiref.sync import sync_to_async

from ..admission.contract import ControlBackend, ControlRequest
from ..errors import BridgeClosed, ConfigurationError, SSEBridgeError
from ..records.continuity import Page, ReadRequest
from ..runtime.containment import contained
from ..runtime.daemon import Daemon
from ..runtime.forks import after_fork
from .base import Append, Appended, AsyncBackend, Backend, Sink, SyncBackend, Upstream

T = TypeVar("T")


def both_colours(backend: Any) -> Backend:
    """`backend` itself if it has both colours, else with the missing one added; `ConfigurationError` if it has none."""
    sync = all(hasattr(backend, name) for name in ("append", "read", "upstream", "close"))
    asynchronous = all(hasattr(backend, name) for name in ("aappend", "aread", "aupstream", "aclose"))
    if sync and asynchronous:
        return cast(Backend, backend)
    if sync:
        return cast(Backend, _FromSync(backend))
    if asynchronous:
        return cast(Backend, _FromAsync(backend))
    raise ConfigurationError(f"a backend has append, read, upstream, close or their a-twins, got {backend!r:.100}")


class _Adapted:
    """A backend and one colour more; all else is the backend's own."""

    can_block = False
    append_many = SyncBackend.append_many

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.name: str = getattr(backend, "name", type(backend).__name__.lower())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class _FromSync(_Adapted):
    """A sync backend with an async twin: each call runs on a thread of asgiref's pool."""

    _backend: SyncBackend

    async def acontrol(self, request: ControlRequest) -> Any:
        return await _on_thread(cast(ControlBackend, self._backend).control, request)

    async def aappend(self, batch: Append) -> Appended:
        return await _on_thread(self._backend.append, batch)

    async def aread(self, requests: Sequence[ReadRequest]) -> list[Page | SSEBridgeError]:
        return await _on_thread(self._backend.read, requests)

    def aupstream(self, sink: Sink) -> Upstream:
        return self._backend.upstream(_OnLoop(sink, asyncio.get_running_loop()))

    async def aclose(self) -> None:
        await _on_thread(self._backend.close)


async def _on_thread(call: Callable[..., T], *args: Any) -> T:
    return await sync_to_async(contained(call), thread_sensitive=False)(*args)


class _FromAsync(_Adapted):
    """An async backend with a sync twin: all threads share one loop on a thread of its own, made at the first use."""

    _backend: AsyncBackend

    def __init__(self, backend: AsyncBackend) -> None:
        super().__init__(backend)
        self._side: tuple[asyncio.AbstractEventLoop, Daemon] | None = None
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()  # re-entrant for signal handlers
        self._parents, self._side = self._side, None  # kept: closing the loop in a child would deafen the parent's
        self._pid = os.getpid()  # last, since other threads of a child check it first

    def append(self, batch: Append) -> Appended:
        return self._run(self._backend.aappend, batch)

    def read(self, requests: Sequence[ReadRequest]) -> list[Page | SSEBridgeError]:
        return self._run(self._backend.aread, requests)

    def upstream(self, sink: Sink) -> Upstream:
        loop = self._own_loop()
        return _FromLoop(self._run(_call, self._backend.aupstream, sink), loop)

    def close(self) -> None:
        self._check_pid()
        with self._lock:
            if self._side is not None:
                _Answer(self._side[0], self._end).wait()

    async def _end(self) -> None:
        """Closes the backend on its loop, where no signal handler can leave the loop stopped but not forgotten."""
        try:
            await self._backend.aclose()
        finally:
            self._side = None
            asyncio.get_running_loop().stop()

    def control(self, request: ControlRequest) -> Any:
        return self._run(cast(ControlBackend, self._backend).acontrol, request)

    async def aclose(self) -> None:
        await self._backend.aclose()
        await asyncio.to_thread(self.close)

    def _run(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        return _Answer(self._own_loop(), work, *args).wait()

    def _check_pid(self) -> None:
        if self._pid != os.getpid():
            after_fork(self, _FromAsync._begin)

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        monkey = sys.modules.get("gevent.monkey")
        if monkey is not None and monkey.is_module_patched("threading"):
            raise ConfigurationError(
                f"the backend {self.name!r} is async only, and under gevent no loop can run beside greenlets; "
                "give it sync methods, or use threads"
            )
        self._check_pid()
        with self._lock:
            if self._side is None:
                new = asyncio.new_event_loop()
                self._side = new, Daemon(partial(_serve, new), "sse_bridge-backend")
            loop, daemon = self._side
            daemon.start()
            return loop


class _Answer(Generic[T]):
    """The result of a coroutine on another thread's loop.

    A Future of concurrent.futures is written in Python: an exception out of a signal handler in `result` may leave it
    locked, and the loop would wait for ever to set it.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, work: Callable[..., Coroutine[Any, Any, T]], *args: Any
    ) -> None:
        self.loop = loop
        self._work = work
        self._args = args
        self._done = threading.Lock()
        self._done.acquire()
        self._value: T | None = None
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        _unanswered.add(self)
        try:
            loop.call_soon_threadsafe(self._begin)
        except RuntimeError:  # the loop is closed
            self.give_up()

    def wait(self) -> T:
        """The coroutine's result; raises `BridgeClosed` if the loop ended before it, when its work may have been done."""
        self._done.acquire()
        if self._error is not None:
            raise self._error
        return cast(T, self._value)

    def _begin(self) -> None:
        self._task = self.loop.create_task(self._carry())

    async def _carry(self) -> None:
        try:
            self._value = await self._work(*self._args)
        except BaseException as error:  # noqa: BLE001  # raised by `wait`
            self._error = error
        finally:
            self._settle()

    def give_up(self) -> None:
        """Lets `wait` raise, since the loop is closed and runs nothing any more."""
        self._error = BridgeClosed("the backend was closed before it answered; make another bridge")
        self._settle()

    def _settle(self) -> None:
        try:
            _unanswered.remove(self)
        except KeyError:  # a coroutine that a closed loop has left ends once more when it is collected
            return
        self._done.release()


_unanswered: Final[set[_Answer[Any]]] = set()  # of all loops; a set's methods are one step for other threads


class _OnLoop:
    """A sink of a loop, called from a backend's thread."""

    def __init__(self, sink: Sink, loop: asyncio.AbstractEventLoop) -> None:
        self.announced = partial(_hand, loop, sink.announced)
        self.confirmed = partial(_hand, loop, sink.confirmed)
        self.lost = partial(_hand, loop, sink.lost)
        self.control_message = partial(_hand, loop, sink.control_message)
        self.flush = partial(_hand, loop, sink.flush)


def _hand(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(partial(call, *args, **kwargs))


class _FromLoop:
    """An upstream that lives on the backend's loop, used from threads."""

    def __init__(self, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        self._upstream = upstream
        self._loop = loop

    def subscribe(self, channels: Sequence[str]) -> None:
        self._loop.call_soon_threadsafe(self._upstream.subscribe, channels)

    def unsubscribe(self, channels: Sequence[str]) -> None:
        self._loop.call_soon_threadsafe(self._upstream.unsubscribe, channels)

    def close(self) -> None:
        if self._loop.is_running():
            with contextlib.suppress(BridgeClosed):  # the loop ended meanwhile, and the upstream with it
                _Answer(self._loop, _call, self._upstream.close).wait()


async def _call(function: Any, *args: Any) -> Any:
    return function(*args)


async def _others() -> None:
    """Lets calls that arrived before the stop finish, within a second, since the backend's own tasks may never end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=1.0)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(_others())
    finally:
        loop.close()
        for answer in list(_unanswered):
            if answer.loop is loop:
                answer.give_up()
