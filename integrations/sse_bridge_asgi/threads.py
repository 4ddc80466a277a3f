"""A thread for sync code that is called over asgiref: a hook, a WSGI app, what a source calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from sse_bridge.streams import awaited, call_async, is_async


class OwnThread:
    """One thread for all sync code that the current context calls over asgiref from now on.

    By default asgiref has one thread per process. `close` never waits: a thread that is busy after a cancel ends by itself,
    while a `ThreadSensitiveContext` would wait for it, before asgiref 3.12 blocking the event loop.
    """

    __slots__ = ("_context", "_token")

    def __init__(self) -> None:
        self._context = ThreadSensitiveContext()
        self._token = SyncToAsync.thread_sensitive_context.set(self._context)

    def close(self) -> None:
        """Ends the thread; call in the context, that is the task, that made this object."""
        SyncToAsync.thread_sensitive_context.reset(self._token)
        # asgiref's reference is weak, but the traceback of a hook's exception would keep the thread until a collection
        executor = SyncToAsync.context_to_thread_executor.pop(self._context, None)
        if executor is not None:
            executor.shutdown(wait=False)


@contextmanager
def own_thread() -> Iterator[None]:
    """An `OwnThread` for a block, unless the context has one."""
    if SyncToAsync.thread_sensitive_context.get(None) is not None:
        yield
        return
    thread = OwnThread()
    try:
        yield
    finally:
        thread.close()


async def call_hook(hook: Callable[..., Any], *args: Any) -> Any:
    """The result of a sync or async hook.

    Each sync hook gets a thread of its own: by default asgiref runs all of a process on one thread.
    """
    if is_async(hook):
        return await awaited(hook, hook(*args))
    with own_thread():
        return await call_async(hook, *args)
