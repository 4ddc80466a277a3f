"""Loops, threads, forks, defaults, settings, and the end of a bridge."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sse_bridge import Bridge, apublish, configure, get_bridge, publish
from sse_bridge.errors import (
    AsyncContextError,
    BridgeClosed,
    ConfigurationError,
)
from sse_bridge.streams.http.compression import _shared_blocks
from tests.support.wait import await_for, wait_for

from .both import data


def test_sync_calls_on_a_loops_thread_name_their_twin() -> None:
    bridge = Bridge("memory://")

    async def body() -> None:
        for name, call in {
            "apublish": lambda: bridge.publish("a", 1),
            "apublish_many": lambda: bridge.publish_many([]),
            "asubscribe": lambda: bridge.subscribe("a"),
            "ahistory": lambda: bridge.history("a"),
            "aclose_channel": lambda: bridge.close_channel("a"),
        }.items():
            with pytest.raises(AsyncContextError, match=name):
                call()

    asyncio.run(body())


def test_several_loops_and_threads_share_a_bridge(redis_url: str) -> None:
    for url in ("memory://", redis_url):
        with Bridge(url, prefix=f"t{uuid.uuid4().hex[:12]}") as bridge:
            heard: list[list[Any]] = []

            async def listen(bridge: Bridge = bridge, heard: list[list[Any]] = heard) -> None:
                async with bridge.asubscribe("a", after="earliest") as stream:
                    heard.append([(await stream.next(60)).data for _ in range(30)])

            async def speak(bridge: Bridge = bridge) -> None:
                for n in range(10):
                    await bridge.apublish("a", n)

            def talk(bridge: Bridge = bridge) -> None:
                for n in range(10):
                    bridge.publish("a", n)

            async def with_close(work: Callable[[], Awaitable[None]], bridge: Bridge = bridge) -> None:
                await work()
                await bridge.backend.aclose() if bridge.backend.name != "memory" else None

            works = (
                [lambda: asyncio.run(with_close(listen))] * 2 + [lambda: asyncio.run(with_close(speak))] * 2 + [talk]
            )
            threads = [threading.Thread(target=work) for work in works]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert len(heard) == 2
            assert heard[0] == heard[1]
            assert sorted(heard[0]) == sorted(list(range(10)) * 3)


def test_a_subscription_that_nobody_closed_is_given_back() -> None:
    with Bridge("memory://") as bridge:
        bridge.publish("a", 1)
        for event in bridge.subscribe("a", after="earliest"):
            assert event.data == 1
            break
        wait_for(lambda: bridge.thread_hub().readers() == 0)


def test_memory_begins_anew_after_fork() -> None:
    with Bridge("memory://") as bridge:
        before = bridge.publish("a", 1)
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                child = bridge.publish("a", 2)
                os.write(write_end, f"{child.epoch} {child.offset}".encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        epoch, offset = os.read(read_end, 100).decode().split()
        os.close(read_end)
        os.close(write_end)
        assert epoch != before.epoch
        assert offset == "1"


def test_a_forked_child_compresses_what_a_thread_of_its_parent_was_at() -> None:
    with _shared_blocks(6, 0)._lock:  # as a thread that deflates holds it when another one forks
        pid = os.fork()
        if pid == 0:
            thread = threading.Thread(target=_shared_blocks(6, 0).blocks, args=(b"data",), daemon=True)
            thread.start()
            thread.join(60)
            os._exit(thread.is_alive())
    assert os.waitpid(pid, 0)[1] == 0


def test_the_default_bridge() -> None:
    bridge = Bridge("memory://")
    configure(bridge)
    try:
        assert get_bridge() is bridge
        assert publish("a", 1).offset == 1
        assert asyncio.run(apublish("a", 2)).offset == 2
        assert data(bridge.history("a")) == [1, 2]
    finally:
        configure(None)


def test_a_closed_bridge_says_so() -> None:
    bridge = Bridge("memory://")
    bridge.close()
    with pytest.raises(BridgeClosed):
        bridge.publish("a", 1)


def test_unknown_settings_suggest_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'replay_size'"):
        Bridge("memory://", replay_sise=5)
    with pytest.raises(ConfigurationError, match="did you mean 'heartbeat_seconds'"):
        Bridge.from_settings({"HEARTBEAT_SECOND": 5})
    with pytest.raises(ConfigurationError, match="replay_size"):
        Bridge("memory://", replay_size=-1)
    with pytest.raises(ConfigurationError, match="memory://"):
        Bridge("kafka://x")
    monkeypatch.setenv("SSE_BRIDGE_REPLAY_SISE", "5")
    with pytest.raises(ConfigurationError, match="SSE_BRIDGE_REPLAY_SISE"):
        Bridge("memory://")
    monkeypatch.delenv("SSE_BRIDGE_REPLAY_SISE")
    monkeypatch.setenv("SSE_BRIDGE_REPLAY_SIZE", "7")
    assert Bridge("memory://").settings.replay_size == 7
    assert Bridge("memory://", replay_size=8).settings.replay_size == 8


@pytest.mark.parametrize("room", ["hubs", "connections"])
def test_a_loop_may_come_while_another_looks_for_loops_that_are_gone(room: str, redis_url: str) -> None:
    with Bridge(redis_url) as bridge:
        enter = bridge.loop_hub if room == "hubs" else bridge.backend._side  # type: ignore[attr-defined]
        others: list[threading.Thread] = []

        async def come() -> None:
            enter()

        class Watched(asyncio.SelectorEventLoop):
            def is_closed(self) -> bool:
                if armed and not others:
                    others.append(threading.Thread(target=lambda: asyncio.run(come())))
                    others[0].start()
                    others[0].join(0.5)  # in vain, if it has to wait for its turn
                return super().is_closed()

        armed = False
        loops = [Watched() for _ in range(3)]
        for loop in loops:
            loop.run_until_complete(come())
        armed = True
        asyncio.run(come())
        armed = False
        others[0].join(60)
        assert not others[0].is_alive()
        for loop in loops:
            loop.close()


@pytest.mark.parametrize("walk", [Bridge.loop_hub, Bridge.hubs, Bridge.close])
def test_a_signal_handler_may_close_the_bridge_while_its_hubs_are_walked(walk: Callable[[Bridge], object]) -> None:
    """The handler runs here between the look at one loop or hub and the next."""
    bridge = Bridge("memory://")
    handled: list[bool] = []

    def handle() -> bool:
        if not handled:
            handled.append(True)
            bridge.close()
        return True

    hub = type("Hub", (), {"closed": property(lambda self: handle())})
    loop = type("Loop", (), {"is_closed": lambda self: handle()})
    bridge._loop_hubs.update({loop(): hub(), loop(): hub()})

    async def come() -> None:
        with contextlib.suppress(BridgeClosed):
            walk(bridge)

    if walk is Bridge.loop_hub:
        asyncio.run(come())
    else:
        walk(bridge)
    assert handled == [True]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("url", ["memory://", "redis"])
def test_the_threads_of_a_child_begin_together(url: str, redis_url: str) -> None:
    """None may meet what is its parent's, and none may throw away what another has made."""
    with Bridge(redis_url if url == "redis" else url, prefix=f"t{uuid.uuid4().hex[:12]}") as bridge:
        bridge.publish("a", "parent")
        with bridge.subscribe("a") as stream:
            assert stream.wait_ready(60)
            pid = os.fork()
            if pid == 0:
                try:
                    seen: list[Any] = []
                    barrier = threading.Barrier(8)

                    def use() -> None:
                        barrier.wait(60)
                        with bridge.subscribe("b", after="earliest") as mine:
                            bridge.publish("b", 1)
                            seen.append([(event := mine.next(60)) and event.data for _ in range(8)])

                    threads = [threading.Thread(target=use) for _ in range(8)]
                    for thread in threads:
                        thread.start()
                    for thread in threads:
                        thread.join(60)
                    os._exit(0 if seen == [[1] * 8] * 8 else 1)
                finally:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


async def test_closing_ends_the_readers_of_every_loop(redis_url: str) -> None:
    for url in ("memory://", redis_url):
        bridge = Bridge(url, prefix=f"t{uuid.uuid4().hex[:12]}")
        ends: list[Any] = []

        async def read(bridge: Bridge = bridge, ends: list[Any] = ends) -> None:
            stream = bridge.asubscribe("a")
            assert await stream.wait_ready(60)
            ends.append("ready")
            ends.append(await stream.next(60))
            ends.append(stream.closed)
            await bridge.backend.aclose()

        other = threading.Thread(target=lambda read=read: asyncio.run(read()))  # type: ignore[misc]
        other.start()
        await await_for(lambda ends=ends: ends == ["ready"])  # type: ignore[misc]
        own = asyncio.ensure_future(read())
        await await_for(lambda ends=ends: ends == ["ready", "ready"])  # type: ignore[misc]
        bridge.close()
        await asyncio.wait_for(own, 60)
        await asyncio.to_thread(other.join, 60)
        assert sorted(map(str, ends[2:])) == ["None", "None", "True", "True"]
