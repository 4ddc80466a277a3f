"""Bodies and a watchful source for the tests of drivers of either colour."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from sse_bridge import Bridge
from sse_bridge.streams import StreamRequest, stream_source

ANY = StreamRequest()

user = contextvars.ContextVar("user", default="nobody")


def open_bridge() -> Iterator[Bridge]:
    with Bridge() as made:
        yield made
        gc.collect()
        assert len(made.streams) == 0


def sync_body(bridge: Bridge, source: Any, **options: Any) -> Any:
    bodies = stream_source(bridge, source, ANY, format="ndjson", **options).bodies
    assert bodies is not None
    return bodies.sync_body()


def async_body(bridge: Bridge, source: Any, **options: Any) -> Any:
    bodies = stream_source(bridge, source, ANY, format="ndjson", **options).bodies
    assert bodies is not None
    return bodies.async_body()


def source_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("sse_bridge-source")]


class Steps:
    """A source of three items, in either colour, that notes which thread and task ran each of its steps."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.tasks: list[object] = []
        self.users: list[str] = []
        self.ended_by: type[BaseException] | None = None
        self.closed = threading.Event()

    def note(self) -> None:
        self.threads.append(threading.current_thread())
        self.users.append(user.get())
        with contextlib.suppress(RuntimeError):
            self.tasks.append(asyncio.current_task())

    def sync(self) -> Iterator[int]:
        try:
            for n in range(3):
                self.note()
                yield n
        except BaseException as error:
            self.ended_by = type(error)
            raise
        finally:
            self.note()
            self.closed.set()

    async def asynchronous(self) -> AsyncIterator[int]:
        try:
            for n in range(3):
                self.note()
                await asyncio.sleep(0)
                self.note()
                yield n
        except BaseException as error:
            self.ended_by = type(error)
            raise
        finally:
            try:
                await asyncio.sleep(0)  # a cancellation may find it here, at its own end
            finally:
                self.note()
                self.closed.set()
