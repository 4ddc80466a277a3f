"""What shows that a server retires without a signal: listeners that no longer serve, and gunicorn's worker and its hooks."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import types
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from gunicorn.config import Config
from gunicorn.workers.base import Worker

from sse_bridge import Bridge
from sse_bridge.streams.lifecycle.registry import Registry
from sse_bridge.streams.lifecycle.retirement import Retirement
from sse_bridge_asgi import EventStreamApp
from tests.support.process import free_port
from tests.support.sse_client import SSEClient
from tests.support.wait import await_for, wait_for


@contextmanager
def uvicorn_thread(app: Any) -> Iterator[tuple[uvicorn.Server, threading.Thread]]:
    """A server in a thread of this process, as test suites and desktop applications run it."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, what="the server to start")
    try:
        yield server, thread
    finally:
        server.should_exit = server.force_exit = True
        thread.join(60)


def test_should_exit_ends_the_streams_and_the_server_returns() -> None:
    bridge = Bridge("memory://", drain_seconds=0)
    app = EventStreamApp(bridge, channels=["news"])
    for _ in range(2):  # the same bridge serves the next server in this process
        with uvicorn_thread(app) as (server, thread), SSEClient(f"http://127.0.0.1:{server.config.port}/") as client:
            assert client.next(60).event == "stream.open"
            bridge.publish("news", 1)
            assert client.next(60).data == "1"
            server.should_exit = True
            last = client.next(60)
            assert (last.event, last.data) == ("stream.close", '{"reason":"drain"}')
            assert last.retry is not None
            thread.join(60)
            assert not thread.is_alive()
    bridge.close()


def test_a_server_beside_it_goes_on() -> None:
    bridge = Bridge("memory://", drain_seconds=0)
    app = EventStreamApp(bridge, channels=["news"])
    with (
        uvicorn_thread(app) as (going, thread),
        uvicorn_thread(app) as (staying, _),
        SSEClient(f"http://127.0.0.1:{going.config.port}/") as client,
        SSEClient(f"http://127.0.0.1:{staying.config.port}/") as other,
    ):
        client.take(1)
        other.take(1)
        going.should_exit = True
        assert client.next(60).event == "stream.close"
        thread.join(60)
        bridge.publish("news", 1)
        assert other.next(60).data == "1"
    bridge.close()


async def test_a_loop_without_a_known_server_is_left_alone() -> None:
    seen: list[Any] = []
    retirement = Retirement(seen.append, lambda: True)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    retirement.look()
    server.close()
    retirement.look()
    assert seen == []
    assert [handle for handle in retirement._loops.values() if handle.timer is not None] == []


def test_the_watch_ends_with_the_streams_and_holds_no_loop() -> None:
    loop = asyncio.new_event_loop()
    streams, seen = [1], []
    retirement = Retirement(seen.append, lambda: bool(streams))

    async def serve() -> None:
        servers = [await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)]
        retirement.look()
        [listeners] = retirement._loops.values()
        assert listeners.timer is not None
        streams.clear()
        await await_for(lambda: listeners.timer is None, what="the watch to end")
        servers[0].close()

    # a coroutine of uvicorn's module, as far as can be seen
    names = {**globals(), "__name__": "uvicorn.server"}
    loop.run_until_complete(types.FunctionType(serve.__code__, names, "serve", None, serve.__closure__)())
    loop.close()
    assert seen == []
    gone = weakref.ref(loop)
    del loop, serve
    gc.collect()
    assert gone() is None


class Unreferable:
    """A listener that no weak reference can point to."""

    __slots__ = ()

    def is_serving(self) -> bool:
        return True


def test_a_listener_that_cannot_be_weakly_referenced_hides_no_other() -> None:
    seen: list[Any] = []
    retirement = Retirement(seen.append, lambda: True)

    async def serve() -> None:
        servers: list[Any] = [Unreferable(), await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)]
        servers[1].close()
        retirement.look()

    names = {**globals(), "__name__": "uvicorn.server"}
    asyncio.run(types.FunctionType(serve.__code__, names, "serve", None, serve.__closure__)())
    assert len(seen) == 1


class FakeWorker(Worker):  # type: ignore[misc]
    """As far as its hooks and its signal handler go."""

    def __init__(self) -> None:
        self.cfg = Config()
        self.alive = True


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> FakeWorker:
    worker = FakeWorker()

    class Ours:
        previous = worker.handle_exit

    monkeypatch.setattr(signal, "getsignal", lambda number: Ours())
    return worker


def test_gunicorn_s_hooks_are_chained(worker: FakeWorker) -> None:
    seen: list[Any] = []
    worker.cfg.set("post_request", lambda worker, req: seen.append("their post_request"))
    worker.cfg.set("worker_int", lambda worker: seen.append("their worker_int"))
    retirement = Retirement(seen.append, lambda: True)
    retirement.look()
    retirement.look()
    worker.cfg.post_request(worker, None, {}, None)
    assert seen == ["their post_request"]
    worker.alive = False  # --max-requests
    worker.cfg.post_request(worker, None, {}, None)
    assert seen == ["their post_request", None, "their post_request"]
    worker.cfg.worker_int(worker)  # --reload
    assert seen[3:] == [None, "their worker_int"]


def test_a_stream_that_is_itself_the_last_request(worker: FakeWorker) -> None:
    seen: list[Any] = []
    retirement = Retirement(seen.append, lambda: True)
    worker.alive = False
    retirement.look()
    assert seen == [None]


class Stream:
    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self.ends: list[float] = []

    def end_by(self, when: float, why: str = "drain") -> None:
        self.ends.append(when)


def test_a_drain_of_one_loop_leaves_the_others() -> None:
    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    registry = Registry()
    streams = [Stream(one), Stream(two), Stream(None)]
    for stream in streams:
        registry.add(stream)
    registry.begin_drain(0, one)
    late = [Stream(one), Stream(two), Stream(None)]
    for stream in late:
        registry.add(stream)
    assert [len(stream.ends) for stream in (*streams, *late)] == [1, 0, 0, 1, 0, 0]
    assert (registry.is_draining(one), registry.is_draining(two), registry.is_draining()) == (True, False, False)
    one.close()
    two.close()
