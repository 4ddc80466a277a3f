"""The missing colour of a backend that has only one: asgiref carries sync calls to coroutines, a loop of its own the
other way.

It costs a thread hop per call, which is what a third-party backend without a twin has to pay; the backends of this
library have both colours.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

from asgiref.sync import sync_to_async

from ..errors import ConfigurationError, SSEBridgeError
from ..follow.page import Page, ReadRequest
from ..records import Announcement
from .admission import ControlBackend, ControlRequest
from .base import Append, Appended, AsyncBackend, Backend, Sink, SyncBackend, Upstream

T = TypeVar("T")


def both_colours(backend: Any) -> Backend:
    """`backend` itself if it has both colours, else with the missing one added.

    Raises:
        ConfigurationError: it has neither.
    """
    sync = all(hasattr(backend, name) for name in ("append", "read", "upstream", "close"))
    asynchronous = all(hasattr(backend, name) for name in ("aappend", "aread", "aupstream", "aclose"))
    if sync and asynchronous:
        return cast(Backend, backend)
    if sync:
        return _FromSync(backend)
    if asynchronous:
        return _FromAsync(backend)
    raise ConfigurationError(f"a backend has append, read, upstream, close or their a-twins, got {backend!r:.100}")


class _Adapted:
    can_block = False

    def __init__(self, backend: Any) -> None:
        self.name: str = getattr(backend, "name", type(backend).__name__.lower())
        self.can_control: bool = getattr(backend, "can_control", False)

    def append(self, batch: Append) -> Appended:
        raise NotImplementedError

    def append_many(self, batches: Sequence[Append]) -> list[Appended | SSEBridgeError]:
        outcomes: list[Appended | SSEBridgeError] = []
        for batch in batches:
            try:
                outcomes.append(self.append(batch))
            except SSEBridgeError as error:
                outcomes.append(error)
        return outcomes


class _FromSync(_Adapted):
    """A sync backend with an async twin: each call runs on a thread of asgiref's pool."""

    def __init__(self, backend: SyncBackend) -> None:
        super().__init__(backend)
        self._backend = backend

    def append(self, batch: Append) -> Appended:
        return self._backend.append(batch)

    def read(self, requests: Sequence[ReadRequest]) -> list[Page]:
        return self._backend.read(requests)

    def upstream(self, sink: Sink) -> Upstream:
        return self._backend.upstream(sink)

    def close(self) -> None:
        self._backend.close()

    def control(self, request: ControlRequest) -> Any:
        return cast(ControlBackend, self._backend).control(request)

    async def acontrol(self, request: ControlRequest) -> Any:
        return await sync_to_async(self.control, thread_sensitive=False)(request)

    async def aappend(self, batch: Append) -> Appended:
        return await sync_to_async(self._backend.append, thread_sensitive=False)(batch)

    async def aread(self, requests: Sequence[ReadRequest]) -> list[Page]:
        return await sync_to_async(self._backend.read, thread_sensitive=False)(requests)

    def aupstream(self, sink: Sink) -> Upstream:
        return self._backend.upstream(_OnLoop(sink, asyncio.get_running_loop()))

    async def aclose(self) -> None:
        await sync_to_async(self._backend.close, thread_sensitive=False)()


class _FromAsync(_Adapted):
    """An async backend with a sync twin: all threads share one loop on a thread of its own, made at the first use."""

    def __init__(self, backend: AsyncBackend) -> None:
        super().__init__(backend)
        self._backend = backend
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def append(self, batch: Append) -> Appended:
        return self._run(self._backend.aappend(batch))

    def read(self, requests: Sequence[ReadRequest]) -> list[Page]:
        return self._run(self._backend.aread(requests))

    def upstream(self, sink: Sink) -> Upstream:
        loop = self._own_loop()
        return _FromLoop(self._run(_call(self._backend.aupstream, sink)), loop)

    def close(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._backend.aclose(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def control(self, request: ControlRequest) -> Any:
        return self._run(self.acontrol(request))

    async def acontrol(self, request: ControlRequest) -> Any:
        return await cast(ControlBackend, self._backend).acontrol(request)

    async def aappend(self, batch: Append) -> Appended:
        return await self._backend.aappend(batch)

    async def aread(self, requests: Sequence[ReadRequest]) -> list[Page]:
        return await self._backend.aread(requests)

    def aupstream(self, sink: Sink) -> Upstream:
        return self._backend.aupstream(sink)

    async def aclose(self) -> None:
        await self._backend.aclose()
        await asyncio.to_thread(self.close)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._own_loop()).result()

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        monkey = sys.modules.get("gevent.monkey")
        if monkey is not None and monkey.is_module_patched("threading"):
            raise ConfigurationError(
                f"the backend {self.name!r} is async only, and under gevent no loop can run beside greenlets; "
                "give it sync methods, or use threads"
            )
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(self._loop,), name="sse_bridge-backend", daemon=True).start()
            return self._loop


class _OnLoop:
    """A sink of a loop, called from a backend's thread."""

    def __init__(self, sink: Sink, loop: asyncio.AbstractEventLoop) -> None:
        self._sink = sink
        self._loop = loop

    def announced(self, channel: str, announcement: Announcement | None) -> None:
        self._hand(self._sink.announced, channel, announcement)

    def confirmed(self, channel: str) -> None:
        self._hand(self._sink.confirmed, channel)

    def lost(self, channels: Sequence[str] | None, why: str) -> None:
        self._hand(self._sink.lost, channels, why)

    def told(self, message: bytes) -> None:
        self._hand(self._sink.told, message)

    def flush(self) -> None:
        self._hand(self._sink.flush)

    def _hand(self, call: Any, *args: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *args)


class _FromLoop:
    """An upstream that lives on the backend's loop, used from threads."""

    def __init__(self, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        self._upstream = upstream
        self._loop = loop

    def subscribe(self, channels: Sequence[str]) -> None:
        self._loop.call_soon_threadsafe(self._upstream.subscribe, channels)

    def unsubscribe(self, channels: Sequence[str]) -> None:
        self._loop.call_soon_threadsafe(self._upstream.unsubscribe, channels)

    def close(self) -> None:
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(_call(self._upstream.close), self._loop).result()


async def _call(function: Any, *args: Any) -> Any:
    return function(*args)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
