"""Calls of hooks in the other colour through asgiref: a sync hook under ASGI, an async hook under WSGI.

A call costs 0.2–0.5 ms and a thread, so hooks run at the connect of a stream, never on the path of an event. A hook's
exception arrives as one that says that the hook failed; see `containment`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async

from ...runtime.containment import awaited, call_here, contained, may_be_cancelled
from ...runtime.wakers import gevent_patched


async def call_async(hook: Callable[..., Any], *args: Any) -> Any:
    """The hook's result, from a coroutine; a sync hook runs in a thread of its own kind (thread-sensitive)."""
    if is_async(hook):
        return await awaited(hook, hook(*args))
    try:
        result = await sync_to_async(contained(hook), thread_sensitive=True)(*args)
    except RuntimeError as error:
        # asgiref passes a cancel on to the coroutine under a sync hook's `async_to_sync`, and the hook raises it.
        if isinstance(error.__cause__, asyncio.CancelledError) and may_be_cancelled():
            raise error.__cause__ from None
        raise
    return await awaited(hook, result) if inspect.isawaitable(result) else result


def call_sync(hook: Callable[..., Any], *args: Any) -> Any:
    """The hook's result, from a thread; an async hook runs to its end on a loop."""
    if is_async(hook):
        return _run(_call, hook, args)
    result = call_here(hook, *args)
    return _run(awaited, hook, result) if inspect.isawaitable(result) else result


def is_async(hook: Callable[..., Any]) -> bool:
    """Whether a call of the hook makes a coroutine, also for objects with an ``async def __call__``."""
    return iscoroutinefunction(hook) or iscoroutinefunction(getattr(hook, "__call__", None))  # noqa: B004  # of an object


def _run(function: Callable[..., Any], *args: Any) -> Any:
    if not gevent_patched():
        return async_to_sync(function)(*args)
    # asyncio allows one running loop per thread, and greenlets share a thread, so each call runs on a native one.
    import gevent

    context = contextvars.copy_context()
    return gevent.get_hub().threadpool.apply(context.run, (asyncio.run, function(*args)))


async def _call(hook: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return await awaited(hook, hook(*args))
