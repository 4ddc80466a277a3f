"""Exceptions of an application's code, made safe to leave the thread or the task in which it runs.

Some exceptions control the caller instead of reporting a failure:

    StopIteration                       cannot be set on a future: the task awaiting it would wait for ever
    CancelledError                      would cancel a waiting task that nobody cancelled
    GeneratorExit, BaseExceptionGroup   pass every ``except Exception``, so the client would get no error
    SystemExit, KeyboardInterrupt       out of a worker thread would stop the event loop of all; on the main thread
                                        they go on, since a signal may have raised them there

Each becomes a `RuntimeError` raised from the original, as StopIteration does in a generator (PEP 479).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from .wakers import gevent_patched

T = TypeVar("T")


# `contained` adds every BaseException that is no Exception, since it runs on threads of the library.
_STRANGE: Final = (StopIteration, GeneratorExit, asyncio.CancelledError, concurrent.futures.CancelledError)


def is_strange(error: BaseException) -> bool:
    """Whether a caller would mistake `error` for something else than a failure of the code that raised it."""
    if isinstance(error, _STRANGE) or (not isinstance(error, Exception) and isinstance(error, BaseExceptionGroup)):
        return True
    if not isinstance(error, (SystemExit, KeyboardInterrupt)):
        return False
    # Signal handlers raise on the main thread, which all greenlets share.
    return not (gevent_patched() or threading.current_thread() is threading.main_thread())


def contained(function: Callable[..., T]) -> Callable[..., T]:
    """Wraps a sync function for a worker thread, so that a future can carry whatever the function raises."""

    def call(*args: Any) -> T:
        try:
            return function(*args)
        except BaseException as error:
            if isinstance(error, Exception) and not is_strange(error):
                raise
            raise _failure(function, error) from error

    return call


def call_here(function: Callable[..., T], *args: Any) -> T:
    """The result of a sync function on the caller's own thread."""
    try:
        return function(*args)
    except BaseException as error:
        if not is_strange(error):
            raise
        raise _failure(function, error) from error


async def awaited(function: Callable[..., Any], awaitable: Awaitable[T]) -> T:
    """The result of the awaitable that `function` returned, in the caller's task. Safe to cancel."""
    try:
        return await awaitable
    except BaseException as error:
        failed = failure_in_task(function, error)
        if failed is None:
            raise
        raise failed from error


def failure_in_task(function: Callable[..., Any], error: BaseException) -> RuntimeError | None:
    """The exception to raise from `error`, which `function` raised in the current task; None: raise `error` itself."""
    if not is_strange(error) or (isinstance(error, asyncio.CancelledError) and may_be_cancelled()):
        return None
    return _failure(function, error)


def may_be_cancelled() -> bool:
    """Whether this task was cancelled; True outside of a task, where asyncio does not tell."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _failure(function: Callable[..., Any], error: BaseException) -> RuntimeError:
    name = getattr(function, "__qualname__", type(function).__name__)  # no repr: that is the application's code, too
    return RuntimeError(
        f"expected {name} to return or raise an ordinary exception, got {type(error).__name__}, which its caller would not "
        "take for a failure; raise another exception, or return a result"
    )
