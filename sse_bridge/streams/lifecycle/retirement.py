"""A server's worker that retires without a signal: gunicorn's ``--max-requests`` and ``--reload``, uvicorn's
``--limit-max-requests`` and ``should_exit``, hypercorn's workers.

A retiring worker waits for open responses, and a stream does not end by itself: the worker would stay, accept nobody,
and cut its streams in the end. Public signs of a retirement:

    gunicorn   the worker is the owner of the handler of SIGTERM; it has ``alive``, and its ``cfg`` the hooks ``worker_int``
               and ``post_request``, which are chained here as its configuration file would
    asyncio    the listeners of uvicorn, hypercorn and gunicorn's asgi worker are no longer serving (``Server.is_serving``);
               the listeners are read once per loop from the local variables of the server's own coroutine

Under a server without such signs the application calls `Bridge.drain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

POLL_SECONDS: Final = 0.25  # per loop, and only while it has streams

_SERVERS: Final = frozenset({"uvicorn.server", "hypercorn.asyncio.run", "gunicorn.workers.gasgi"})
_DEPTH: Final = 8  # coroutines that await each other between a task and the server's own

logger = logging.getLogger("sse_bridge.streams")

Retire = Callable[[asyncio.AbstractEventLoop | None], None]


class Retirement:
    """Watches the servers of this process; one per process.

    Args:
        retire: called with the loop whose server retires, on that loop; with None for the whole process, from any
            thread and from signal handlers. Called again for streams that began later.
        busy: whether the process has streams.
    """

    def __init__(self, retire: Retire, busy: Callable[[], bool]) -> None:
        self._retire = retire
        self._busy = busy
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Listeners] = weakref.WeakKeyDictionary()
        self._worker: Any = None
        self._pid = 0

    def look(self) -> None:
        """Finds and asks the server that serves this thread; called at the start of each stream. Costs a microsecond.

        Not earlier: while an app is made or starts up, the server may have no listeners yet.
        """
        loop = asyncio._get_running_loop()
        if loop is None:
            self._look_at_worker()
            return
        listeners = self._loops.get(loop)
        if listeners is None:
            listeners = self._loops[loop] = _Listeners(loop)
        if listeners.servers and listeners.timer is None:
            self._look_at(loop, listeners)

    def _look_at(self, loop: asyncio.AbstractEventLoop, listeners: _Listeners) -> None:
        if not listeners.serving():
            self._retire(loop)
        else:
            listeners.timer = loop.call_later(POLL_SECONDS, self._again, loop, listeners)

    def _again(self, loop: asyncio.AbstractEventLoop, listeners: _Listeners) -> None:
        listeners.timer = None
        if self._busy():
            self._look_at(loop, listeners)

    def _look_at_worker(self) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._worker = _gunicorn_worker()
            if self._worker is not None:
                self._chain_hooks(self._worker.cfg)
        if self._worker is not None and not self._worker.alive:
            self._retire(None)

    def _chain_hooks(self, config: Any) -> None:
        """Looks at the worker before each call of two hooks of gunicorn's configuration."""
        next_worker_int, next_post_request = config.worker_int, config.post_request

        def worker_int(worker: Any) -> None:
            self._retire(None)
            next_worker_int(worker)

        def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:  # gunicorn counts the arguments
            if not worker.alive:
                self._retire(None)
            next_post_request(worker, req, environ, resp)

        config.set("worker_int", worker_int)
        config.set("post_request", post_request)


class _Listeners:
    """The listening servers of a loop.

    Attributes:
        servers: those found; weak, since a server holds its loop, the weak key of `_loops`.
        timer: of the next check.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.timer: asyncio.TimerHandle | None = None
        self.servers: list[weakref.ref[Any]] = []
        try:
            for server in _servers(asyncio.all_tasks(loop)):
                with contextlib.suppress(TypeError):  # a server without weak references is not watched; the others are
                    self.servers.append(weakref.ref(server))
        except (AttributeError, TypeError, RuntimeError) as error:  # another version of a server, or of Python
            logger.debug("a server's listeners could not be found: %r", error)

    def serving(self) -> bool:
        servers = [reference() for reference in self.servers]
        return any(server is not None and server.is_serving() for server in servers)


def _servers(tasks: Iterable[asyncio.Task[Any]]) -> list[Any]:
    """The asyncio servers of the HTTP servers that run in these tasks."""
    found: list[Any] = []
    for task in tasks:
        coroutine: Any = task.get_coro()
        for _ in range(_DEPTH):
            if not inspect.iscoroutine(coroutine):
                break
            frame = coroutine.cr_frame
            if frame is not None and frame.f_globals.get("__name__") in _SERVERS:
                names = inspect.getcoroutinelocals(coroutine)
                servers = names.get("servers") or getattr(names.get("self"), "servers", None) or ()
                found += [server for server in servers if hasattr(server, "is_serving")]
                break
            coroutine = coroutine.cr_await
    return found


def _gunicorn_worker() -> Any:
    """Gunicorn's worker of this process; None under any other server. Thread-safe."""
    base = sys.modules.get("gunicorn.workers.base")
    handler: Any = signal.getsignal(signal.SIGTERM)
    if base is None:
        return None
    while hasattr(handler, "previous"):  # a `signals._Handler` in front of the worker's
        handler = handler.previous
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, base.Worker) else None
