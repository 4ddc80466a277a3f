"""Waiting for a condition, the only place in the tests that sleeps.

A test that sleeps is either slow or flaky; a test that waits for what it needs is neither.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# Long enough for a machine that does ten times as much besides; a condition that holds returns at once.
DEFAULT_SECONDS = 60.0
POLL_SECONDS = 0.01


def wait_for(condition: Callable[[], T | None], seconds: float = DEFAULT_SECONDS, *, what: str = "") -> T:
    """Return the first truthy value of `condition()`.

    Args:
        condition: Called every 10 ms on the calling thread. An exception in it ends the wait.
        seconds: The longest wait.
        what: What is waited for, for the message.

    Raises:
        AssertionError: It never became truthy; the message holds the last value.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_message(condition, seconds, what, value))
        time.sleep(POLL_SECONDS)


async def await_for(
    condition: Callable[[], T | Awaitable[T | None] | None], seconds: float = DEFAULT_SECONDS, *, what: str = ""
) -> T:
    """The twin of `wait_for` for coroutines; the condition may be either colour, and the loop runs between two looks."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_message(condition, seconds, what, value))
        await asyncio.sleep(POLL_SECONDS)


def stays(condition: Callable[[], object], seconds: float = 0.3) -> None:
    """Assert that `condition()` holds now and for `seconds`: the way to show that something does *not* happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        assert value, f"expected it to hold for {seconds} s, got {value!r}"
        time.sleep(POLL_SECONDS)


async def astays(condition: Callable[[], object], seconds: float = 0.3) -> None:
    """The twin of `stays` for coroutines."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        assert value, f"expected it to hold for {seconds} s, got {value!r}"
        await asyncio.sleep(POLL_SECONDS)


def _message(condition: Callable[[], object], seconds: float, what: str, value: object) -> str:
    name = what or getattr(condition, "__qualname__", repr(condition))
    return f"waited {seconds} s for {name}, last value {value!r}"
