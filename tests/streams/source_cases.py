"""Sources, bodies and readers that the tests of sources share."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.streams import StreamRequest, StreamResponse, stream_source
from tests.support.sse_parser import parse
from tests.support.wait import await_for

ANY = StreamRequest()


def open_bridge() -> Iterator[Bridge]:
    with Bridge() as made:
        yield made
        gc.collect()
        assert len(made.streams) == 0


def sync_source(items: list[Any]) -> Callable[[], Any]:
    return lambda: (item for item in items)


def async_source(items: list[Any]) -> Callable[[], Any]:
    async def source() -> AsyncIterator[Any]:
        for item in items:
            yield item

    return source


def read_sync(response: StreamResponse) -> list[bytes]:
    assert response.bodies is not None
    body = response.bodies.sync_body()
    with contextlib.closing(body):
        return list(body)


def read_async(response: StreamResponse) -> list[bytes]:
    async def read() -> list[bytes]:
        assert response.bodies is not None
        async with contextlib.aclosing(response.bodies.async_body()) as body:
            return [piece async for piece in body]

    return asyncio.run(read())


# Every pair of colours, and the thread of its own.
DRIVERS: dict[str, tuple[Callable[[list[Any]], Any], Callable[[StreamResponse], list[bytes]], dict[str, Any]]] = {
    "sync source, sync body": (sync_source, read_sync, {}),
    "sync source, its own thread": (sync_source, read_sync, {"own_thread": True}),
    "sync source, async body": (sync_source, read_async, {}),
    "async source, sync body": (async_source, read_sync, {}),
    "async source, async body": (async_source, read_async, {}),
    "list, sync body": (list, read_sync, {}),
    "list, async body": (list, read_async, {}),
}
drivers = pytest.mark.parametrize("driver", DRIVERS)


def stream(driver: str, bridge: Bridge, items: list[Any], **options: Any) -> bytes:
    make, read, more = DRIVERS[driver]
    pieces = read(stream_source(bridge, make(items), ANY, **more, **options))
    assert all(pieces), "an empty piece ends a chunked body"
    return b"".join(pieces)


def events(body: bytes) -> list[tuple[str, str]]:
    return [(frame.event, frame.data) for frame in parse(body)]


class Failing:
    """A source that yields so many items and then fails."""

    def __init__(self, items: int, error: BaseException) -> None:
        self.items, self.error = items, error

    def sync(self) -> Iterator[Any]:
        yield from range(self.items)
        raise self.error

    async def asynchronous(self) -> AsyncIterator[Any]:
        for n in range(self.items):
            yield n
        raise self.error


FAILURES = {
    "sync source, sync body": ("sync", read_sync, {}),
    "sync source, its own thread": ("sync", read_sync, {"own_thread": True}),
    "sync source, async body": ("sync", read_async, {}),
    "async source, sync body": ("asynchronous", read_sync, {}),
    "async source, async body": ("asynchronous", read_async, {}),
}
failing = pytest.mark.parametrize(("kind", "read", "options"), FAILURES.values(), ids=FAILURES)


class Paced:
    """A source whose items the test releases one by one."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.ended = threading.Event()

    def sync(self) -> Iterator[int]:
        n = 0
        try:
            while self.gate.acquire(timeout=60):
                yield (n := n + 1)
        finally:
            self.ended.set()

    async def asynchronous(self) -> AsyncIterator[int]:
        n = 0
        try:
            while await await_for(lambda: self.gate.acquire(blocking=False)):
                yield (n := n + 1)
        finally:
            self.ended.set()


SILENT = [("sync", True), ("asynchronous", False)]
