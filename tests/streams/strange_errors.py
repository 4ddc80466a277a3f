"""Exceptions that say something to whoever runs a function, and not that it failed."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable


def _group() -> BaseException:
    return BaseExceptionGroup("a group", [GeneratorExit()])


STRANGE: dict[str, Callable[[], BaseException]] = {
    "StopIteration": StopIteration,
    "GeneratorExit": GeneratorExit,
    "asyncio.CancelledError": asyncio.CancelledError,
    "concurrent.futures.CancelledError": concurrent.futures.CancelledError,
    "BaseExceptionGroup": _group,
}
# What ends a process, where a signal may have raised it.
OF_THE_PROCESS: dict[str, Callable[[], BaseException]] = {
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
}
ALL = {**STRANGE, **OF_THE_PROCESS}


def raiser(error: Callable[[], BaseException]) -> Callable[..., object]:
    """A sync function that raises it."""

    def raising(*args: object) -> object:
        raise error()

    return raising


def async_raiser(error: Callable[[], BaseException]) -> Callable[..., object]:
    """Its twin."""

    async def raising(*args: object) -> object:
        await asyncio.sleep(0)
        raise error()

    return raising
