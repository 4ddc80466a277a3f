"""Kinds of sources: iterables of either colour, or callables that make one; and how an unused source is closed."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Coroutine
from typing import Any

from asgiref.sync import iscoroutinefunction

from ...errors import InvalidInput
from ...runtime.containment import awaited, is_strange
from ..http.hooks import call_sync

logger = logging.getLogger("sse_bridge.streams")

_tasks: set[asyncio.Task[None]] = set()  # a loop itself holds its tasks only weakly


def keep(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Makes a task that is referenced until it is done, so that it cannot be collected."""
    task = loop.create_task(coroutine)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


def is_sync(source: Any) -> bool:
    return hasattr(source, "__iter__")


def is_async(source: Any) -> bool:
    return hasattr(source, "__aiter__")


def begins_async(source: Any, *, prefer_async: bool) -> bool:
    """Whether a `TaskPump` should begin; a source of both colours (a Django QuerySet) takes the body's."""
    if is_sync(source) or is_async(source):
        return is_async(source) and (prefer_async or not is_sync(source))
    return inspect.isasyncgenfunction(source) or iscoroutinefunction(source)


def sync_source(source: Any) -> Any:
    """The iterable that a source is or makes; an async one, or an awaitable, is returned unchanged."""
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
    """Whether an async iterator that never started may hold resources; an async generator holds none yet."""
    return hasattr(source, "__anext__") and hasattr(source, "aclose") and not inspect.isasyncgen(source)


def discard(source: Any) -> None:
    """Closes a source that will not run; on a loop an async source is closed in a task."""
    loop = asyncio._get_running_loop()
    if not needs_aclose(source):
        drop(source)
    elif loop is not None:
        keep(loop, close_async(source))
    else:
        call_sync(close_async, source)


def drop(source: Any) -> None:
    """Closes a source that never started, without awaiting anything."""
    if inspect.iscoroutine(source):
        source.close()  # else Python warns that the coroutine was never awaited
    else:
        close_sync(source)


def close_sync(iterator: Any) -> None:
    """Closes an iterator; an iterable that can be iterated again belongs to the application and stays open.

    Raises nothing but exceptions that a signal handler or the killing of a greenlet may have raised.
    """
    close = getattr(iterator, "close", None)
    if close is not None and hasattr(iterator, "__next__"):
        try:
            close()
        except BaseException as error:
            if not isinstance(error, Exception) and not is_strange(error):
                raise
            logger.exception("closing a source failed")


async def close_async(iterator: Any) -> None:
    """The twin of `close_sync`."""
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None and hasattr(iterator, "__anext__"):
        try:
            await awaited(aclose, aclose())
        except Exception:
            logger.exception("closing a source failed")
