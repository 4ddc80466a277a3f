"""The thread of a hook's own: given back when the hook is done, and not waited for when its caller is cancelled."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from sse_bridge.errors import NotAuthenticated
from sse_bridge_asgi.threads import call_hook
from tests.support.wait import await_for


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    """What an exception's traceback holds would be kept until one."""
    gc.disable()
    yield
    gc.enable()


async def test_a_hook_s_thread_is_given_back() -> None:
    threads = [await call_hook(_this_thread) for _ in range(3)]
    await await_for(lambda: not any(thread() for thread in threads))


async def test_a_hook_that_raises_gives_its_thread_back() -> None:
    threads: list[threading.Thread] = []

    def hook() -> None:
        threads.append(threading.current_thread())
        raise NotAuthenticated("who are you?")

    for _ in range(3):
        with pytest.raises(NotAuthenticated):
            await call_hook(hook)
    await await_for(lambda: len(threads) == 3 and not any(thread.is_alive() for thread in threads))


async def test_a_cancel_reaches_its_task_through_what_a_sync_hook_awaits() -> None:
    begun = threading.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.ensure_future(call_hook(async_to_sync(endless)))
    await await_for(begun.is_set)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()


async def test_a_cancelled_call_does_not_wait_for_its_hook() -> None:
    begun, go_on = threading.Event(), threading.Event()
    thread: Any = None

    def hook() -> None:
        nonlocal thread
        thread = _this_thread()
        begun.set()
        go_on.wait(20)

    call = asyncio.ensure_future(call_hook(hook))
    await await_for(begun.is_set)
    call.cancel()
    await asyncio.wait([call])  # the hook waits for what comes next
    assert call.cancelled()
    del call
    go_on.set()
    await await_for(lambda: thread() is None)


def _this_thread() -> Any:
    return weakref.ref(threading.current_thread())
