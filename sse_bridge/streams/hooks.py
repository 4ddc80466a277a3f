"""What users bring in the other colour: a sync hook under ASGI, an async hook under WSGI; asgiref carries both across.

It costs 0.2–0.5 ms and a thread per call, so it stands at the connect of a stream, never on the path of an event.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async

from ..errors import ConfigurationError, NotAuthorized
from .response import Grant


async def call_async(hook: Callable[..., Any], *args: Any) -> Any:
    """The hook's result, from a coroutine; a sync hook runs in a thread of its own kind (thread-sensitive)."""
    if is_async(hook):
        return await hook(*args)
    result = await sync_to_async(hook, thread_sensitive=True)(*args)
    return await result if inspect.isawaitable(result) else result


def call_sync(hook: Callable[..., Any], *args: Any) -> Any:
    """The hook's result, from a thread; an async hook runs to its end on a loop."""
    if is_async(hook):
        return _run(hook, *args)
    result = hook(*args)
    return _run(_await, result) if inspect.isawaitable(result) else result


def is_async(hook: Callable[..., Any]) -> bool:
    """Whether calling it makes a coroutine, also for objects with an ``async def __call__``."""
    return iscoroutinefunction(hook) or iscoroutinefunction(getattr(hook, "__call__", None))  # noqa: B004  # of an object


def grant_of(result: Any) -> Grant:
    """What an authorize hook returned, as a `Grant`.

    Raises:
        NotAuthorized: it returned False or None. (A hook may raise `NotAuthenticated` itself.)
        ConfigurationError: it returned anything but False, None, True or a `Grant`.
    """
    if isinstance(result, Grant):
        return result
    if result is True:
        return Grant()
    if result is False or result is None:
        raise NotAuthorized("the authorize hook does not allow these channels")
    raise ConfigurationError(f"an authorize hook must return False, True or a Grant, got {result!r:.100}")


def _run(function: Callable[..., Any], *args: Any) -> Any:
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return async_to_sync(function)(*args)
    # asyncio allows one running loop per thread, and greenlets share theirs: each call gets a native thread's own
    import gevent

    context = contextvars.copy_context()
    return gevent.get_hub().threadpool.apply(context.run, (asyncio.run, function(*args)))


async def _await(awaitable: Any) -> Any:
    return await awaitable
