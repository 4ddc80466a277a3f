"""A bridge seen through one colour, so that one test body serves both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sse_bridge import Bridge, Event


class Both:
    """A bridge seen through one colour: every call is plain, whichever twin serves it."""

    def __init__(self, bridge: Bridge, asynchronous: bool) -> None:
        self.bridge = bridge
        self.asynchronous = asynchronous
        self._loop = asyncio.new_event_loop() if asynchronous else None

    def run(self, awaitable: Awaitable[Any]) -> Any:
        assert self._loop is not None

        async def body() -> Any:
            return await awaitable

        return self._loop.run_until_complete(body())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not self.asynchronous:
            return getattr(self.bridge, name)
        twin = getattr(self.bridge, f"a{name}")
        return lambda *args, **kwargs: self.run(twin(*args, **kwargs))

    def subscribe(self, *args: Any, **kwargs: Any) -> Any:
        if not self.asynchronous:
            return _Sync(self.bridge.subscribe(*args, **kwargs))

        async def make() -> Any:
            return self.bridge.asubscribe(*args, **kwargs)

        return _Async(self, self.run(make()))

    def close(self) -> None:
        if self._loop is None:
            self.bridge.close()
        else:
            self.run(self.bridge.aclose())
            self._loop.close()


class _Sync:
    def __init__(self, stream: Any) -> None:
        self.stream = stream
        assert stream.wait_ready(60)

    def next(self, timeout: float = 60) -> Event | None:
        return self.stream.next(timeout)

    def rest(self) -> list[Event]:
        return list(self.stream)

    def close(self) -> None:
        self.stream.close()


class _Async:
    def __init__(self, both: Both, stream: Any) -> None:
        self.both = both
        self.stream = stream
        assert both.run(stream.wait_ready(60))

    def next(self, timeout: float = 60) -> Event | None:
        return self.both.run(self.stream.next(timeout))

    def rest(self) -> list[Event]:
        async def collect() -> list[Event]:
            return [event async for event in self.stream]

        return self.both.run(collect())

    def close(self) -> None:
        self.both.run(self.stream.aclose())


def data(events: list[Event]) -> list[Any]:
    return [event.data for event in events]
