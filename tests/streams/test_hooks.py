"""Hooks in the other colour, under asyncio, threads and gevent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from sse_bridge.errors import ConfigurationError, NotAuthorized
from sse_bridge.streams import Grant, call_async, call_sync, grant_of, is_async
from tests.support.gevent_run import gevent_run


async def twice(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


def twice_later(value: int) -> Awaitable[int]:
    return twice(value)


class Callable:
    async def __call__(self, value: int) -> int:
        return 2 * value


@pytest.mark.parametrize("hook", [twice, Callable(), lambda value: 2 * value, twice_later])
async def test_from_a_coroutine(hook: Any) -> None:
    assert await call_async(hook, 4) == 8


@pytest.mark.parametrize("hook", [twice, Callable(), lambda value: 2 * value, twice_later])
def test_from_a_thread(hook: Any) -> None:
    assert call_sync(hook, 4) == 8


def test_which_are_async() -> None:
    assert is_async(twice)
    assert is_async(Callable())
    assert not is_async(len)


def test_many_greenlets_call_an_async_hook_at_once() -> None:
    output = gevent_run(
        """
import asyncio, contextvars, gevent
from sse_bridge.streams import call_sync
who = contextvars.ContextVar("who")
async def hook(n):
    await asyncio.sleep(0.05)
    return n, who.get()
def one(n):
    who.set(n)
    return call_sync(hook, n)
jobs = [gevent.spawn(one, n) for n in range(8)]
gevent.joinall(jobs, raise_error=True)
print(all(job.value == (n, n) for n, job in enumerate(jobs)))
"""
    )
    assert output.strip() == "True"


def test_whose_stream_it_may_be() -> None:
    for user in ("", 42, b"ada", "u" * 10_001):
        with pytest.raises(ConfigurationError, match=r"Grant\.user must be a text"):
            Grant(user=user)  # type: ignore[arg-type]


def test_what_a_hook_may_return() -> None:
    grant = Grant(user="u")
    assert grant_of(grant) is grant
    assert grant_of(True) == Grant()
    for refused in (False, None):
        with pytest.raises(NotAuthorized):
            grant_of(refused)
    with pytest.raises(ConfigurationError, match="'yes'"):
        grant_of("yes")
