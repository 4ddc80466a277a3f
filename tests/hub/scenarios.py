"""What the hub for threads must do, each as a function of a bridge's URL.

`test_threads.py` calls them on threads, and in processes that gevent has patched.
"""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sse_bridge import Bridge, Event
from sse_bridge.errors import BackendUnavailable, BridgeClosed
from sse_bridge.hub import threads
from sse_bridge.streams import StreamRequest, stream_channels
from tests.support.wait import stays, wait_for

SCENARIOS: dict[str, Callable[[str], None]] = {}


def scenario(function: Callable[[str], None]) -> Callable[[str], None]:
    SCENARIOS[function.__name__] = function
    return function


def run(name: str, url: str) -> None:
    """For a process that does nothing else."""
    threads.TICK_SECONDS = 0.05  # type: ignore[misc]  # sooner done
    SCENARIOS[name](url)
    print("done")


def started(target: Callable[..., Any], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True, name="test")
    thread.start()
    return thread


_before: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def our_threads() -> list[str]:
    """The names of this library's threads, but for those that `disregard_threads` has met."""
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("sse_bridge")]
    return sorted(thread.name for thread in ours if thread not in _before)


def disregard_threads() -> None:
    """Those that there are belong to a bridge of another test, which may live as long as the process (a default one)."""
    _before.update(thread for thread in threading.enumerate() if thread.name.startswith("sse_bridge"))


def readers(bridge: Bridge) -> int:
    return bridge.thread_hub().readers()


def channel() -> str:
    """A name of its own: the run's Redis is shared."""
    return f"hub:{os.urandom(6).hex()}"


@contextmanager
def slow_ticks() -> Iterator[None]:
    """Whatever is waited for within a minute has not come with the housekeeping thread's tick."""
    before = threads.TICK_SECONDS
    threads.TICK_SECONDS = 60.0  # type: ignore[misc]
    try:
        yield
    finally:
        threads.TICK_SECONDS = before  # type: ignore[misc]


@scenario
def a_waiting_reader_is_woken(url: str) -> None:
    name = channel()
    with slow_ticks(), Bridge(url) as bridge, bridge.subscribe(name) as stream:
        assert stream.wait_ready(60)
        seen: list[Event | None] = []
        waiter = started(lambda: seen.append(stream.next(60)))
        wait_for(lambda: not bridge.thread_hub().state.next_read_at())
        bridge.publish(name, 1)
        waiter.join(30)  # neither the tick nor its own timer comes so early
        assert [event and event.data for event in seen] == [1]


@scenario
def next_gives_up_after_its_timeout(url: str) -> None:
    with slow_ticks(), Bridge(url) as bridge, bridge.subscribe(channel()) as stream:
        assert stream.wait_ready(60)
        began = time.monotonic()
        assert stream.next(0.1) is None
        assert 0.09 <= time.monotonic() - began < 15
        assert stream.next(0) is None
        assert not stream.closed


@scenario
def close_from_another_thread_ends_a_waiting_reader(url: str) -> None:
    with Bridge(url) as bridge:
        stream = bridge.subscribe(channel())
        seen: list[Event] = []
        waiter = started(lambda: seen.extend(stream))
        assert wait_for(lambda: readers(bridge) == 1)
        stream.close()
        stream.close()
        waiter.join(30)
        assert not waiter.is_alive()
        assert seen == []
        assert readers(bridge) == 0


@scenario
def closing_the_bridge_ends_every_reader(url: str) -> None:
    bridge = Bridge(url)
    streams = [bridge.subscribe(channel()) for _ in range(5)]
    waiters = [started(list, stream) for stream in streams]
    hub, request = bridge.thread_hub(), bridge.subscribe_request("late")
    bridge.close()
    for waiter in waiters:
        waiter.join(30)
    assert not any(waiter.is_alive() for waiter in waiters)
    assert our_threads() == []
    try:
        hub.enter(request)
    except BridgeClosed:
        return
    raise AssertionError("a reader entered a closed hub, where nobody would ever wake it")


@scenario
def nothing_is_left_when_the_last_feed_is_gone(url: str) -> None:
    name = channel()
    with Bridge(url, linger_seconds=0.1) as bridge:
        assert our_threads() == []
        for number in range(2):  # the second reader starts everything again
            with bridge.subscribe(name) as stream:
                assert stream.wait_ready(60)
                bridge.publish(name, number)
                event = stream.next(60)
                assert event is not None
                assert event.data == number
                assert "sse_bridge-housekeeping" in our_threads()
            wait_for(lambda: our_threads() == [], what="the end of the threads")
            assert bridge.thread_hub().state.feeds == {}


@scenario
def a_reload_finds_the_subscription_of_before(url: str) -> None:
    name = channel()
    with Bridge(url, linger_seconds=30) as bridge:
        for _ in range(3):
            with bridge.subscribe(name) as stream:
                assert stream.wait_ready(60)
                feed = bridge.thread_hub().state.feeds[name]
        assert bridge.thread_hub().state.feeds == {name: feed}


@scenario
def a_failed_read_is_tried_again(url: str) -> None:
    name = channel()
    for error in (BackendUnavailable("no broker today"), RuntimeError("a bug")):
        with Bridge(url) as bridge:
            bridge.publish(name, "before")
            read, failures = bridge.backend.read, [error, error]

            def failing(requests: Any, read: Any = read, failures: list[Exception] = failures) -> Any:
                if failures:
                    raise failures.pop()
                return read(requests)

            bridge.backend.read = failing  # type: ignore[method-assign]
            with bridge.subscribe(name, last=1) as stream:
                event = stream.next(60)
                assert event is not None
                assert event.data == "before"
                bridge.publish(name, "after")
                event = stream.next(60)
                assert event is not None
                assert event.data == "after"
            assert failures == []


@scenario
def every_reader_gets_everything_in_order(url: str) -> None:
    name, count = channel(), 300
    with Bridge(url, window_bytes=4096) as bridge:  # a small window: those who are late read the log
        seen: list[list[int]] = [[] for _ in range(12)]

        def read(into: list[int]) -> None:
            with bridge.subscribe(name, after="earliest") as stream:
                for event in stream:
                    assert event.type in ("message", "stream.end"), event
                    if event.type == "message":
                        into.append(event.data)

        waiters = [started(read, into) for into in seen]
        writers = [started(lambda: [bridge.publish(name, number) for number in range(count)])]
        for writer in writers:
            writer.join(30)
        bridge.close_channel(name)
        for waiter in waiters:
            waiter.join(30)
        assert seen == [list(range(count))] * 12


@scenario
def readers_come_and_go_while_the_hub_stops_and_starts(url: str) -> None:
    with Bridge(url, linger_seconds=0) as bridge:
        names, failed = [channel() for _ in range(3)], []

        def visit(number: int) -> None:
            for turn in range(8):
                name = names[(number + turn) % len(names)]
                with bridge.subscribe(name) as stream:
                    assert stream.wait_ready(60), "never ready"
                    bridge.publish(name, [number, turn])
                    while (event := stream.next(60)) is not None and event.data != [number, turn]:
                        continue
                    if event is None:
                        failed.append((number, turn))

        visitors = [started(visit, number) for number in range(6)]
        for visitor in visitors:
            visitor.join(30)
        assert failed == []
        assert not any(visitor.is_alive() for visitor in visitors)
        wait_for(lambda: our_threads() == [])


@scenario
def one_timer_serves_all_heartbeats(url: str) -> None:
    with Bridge(url, heartbeat_seconds=0.2) as bridge:
        bodies = []
        for _ in range(20):
            response = stream_channels(bridge, channel(), StreamRequest())
            assert response.bodies is not None
            bodies.append(response.bodies.sync_body())
        beats: list[bytes] = []
        seen = threading.Event()  # until then none leaves: the first may have its heartbeat before the last has begun

        def beat(body: Any) -> None:
            assert b"stream.open" in next(body)
            beats.append(next(body))
            seen.wait(60)
            body.close()

        waiters = [started(beat, body) for body in bodies]
        wait_for(lambda: readers(bridge) == 20)
        assert [name for name in our_threads() if "redis" not in name] == ["sse_bridge-housekeeping"]
        seen.set()
        for waiter in waiters:
            waiter.join(30)
        assert len(beats) == 20
        assert all(beat.startswith(b":") for beat in beats)
        assert readers(bridge) == 0
        assert len(bridge.thread_hub().alarms) == 0


@scenario
def a_body_that_its_server_forgot_is_given_back(url: str) -> None:
    with Bridge(url) as bridge:
        response = stream_channels(bridge, channel(), StreamRequest())
        assert response.bodies is not None
        body = response.bodies.sync_body()
        assert b"stream.open" in next(body)
        assert (readers(bridge), len(bridge.streams)) == (1, 1)
        del body, response
        gc.collect()
        wait_for(lambda: (readers(bridge), len(bridge.streams)) == (0, 0))


@scenario
def a_drain_waits_until_the_last_frame_was_taken(url: str) -> None:
    with Bridge(url) as bridge:
        response = stream_channels(bridge, channel(), StreamRequest())
        assert response.bodies is not None
        body = response.bodies.sync_body()
        next(body)
        bridge.streams.begin_drain(0)
        assert b"stream.close" in next(body)
        stays(lambda: not bridge.streams.drained(0), 0.05)  # the server is still writing it
        assert next(body, None) is None
        assert bridge.streams.drained(0)
        assert readers(bridge) == 0


@scenario
def a_forked_child_has_a_hub_of_its_own(url: str) -> None:
    name = channel()
    with Bridge(url) as bridge, bridge.subscribe(name) as stream:
        assert stream.wait_ready(60)
        hub = bridge.thread_hub()
        with hub.lock:  # as if another thread had held it
            child = os.fork()
        if child == 0:
            code = 1
            try:
                _in_the_child(bridge, stream, name)
                code = 0
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        assert os.waitstatus_to_exitcode(status) == 0, "the child failed"
        bridge.publish(name, "parent")
        assert _until(stream, "parent")


def _in_the_child(bridge: Bridge, inherited: Any, name: str) -> None:
    for use in (lambda: inherited.next(60), inherited.wait_ready):
        try:
            use()
        except BridgeClosed:
            continue
        raise AssertionError("the parent's subscription would wait forever here")
    inherited.close()
    with bridge.subscribe(name) as own:
        assert own.wait_ready(60)
        bridge.publish(name, "child")
        assert _until(own, "child")
    bridge.close()


def _until(stream: Any, data: object) -> bool:
    while (event := stream.next(60)) is not None:
        if event.data == data:
            return True
    return False
