"""The registry of open streams and the handler that drains them, without a server; each handler test in a fork."""

from __future__ import annotations

import os
import signal
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.streams.lifecycle import signals
from sse_bridge.streams.lifecycle.registry import Registry
from tests.support.wait import stays, wait_for

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks of POSIX")


class Stream:
    """An open stream that ends when it is told to."""

    def __init__(self, registry: Registry, error: Exception | None = None) -> None:
        self.registry = registry
        self.error = error
        registry.add(self)

    def end_by(self, when: float) -> None:
        if self.error is not None:
            raise self.error
        self.registry.discard(self)


def in_a_child(work: Callable[[], str | None]) -> tuple[str, int]:
    """Runs `work` in a fork; what it returned, and the signal that ended it (0: none)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        text = "failed"
        try:
            for number in signals.SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signals.LAST_FRAMES_SECONDS = 0.0  # type: ignore[misc]
            text = work() or ""
        finally:
            os.write(writing, text.encode())
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        text = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return text, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def wait_to_die() -> None:
    wait_for(lambda: False, what="the end of this process")


def drained_registry(*errors: Exception | None) -> tuple[Registry, list[Stream]]:
    registry = Registry()
    signals.drain_at_exit(registry, 0.0)
    return registry, [Stream(registry, error) for error in errors]


def test_the_first_signal_drains_and_then_the_process_ends() -> None:
    def work() -> None:
        registry, streams = drained_registry(None, None)
        signals.ensure_drain_handler()
        handler = signal.getsignal(signal.SIGTERM)
        signals.ensure_drain_handler()
        assert signal.getsignal(signal.SIGTERM) is handler
        os.kill(os.getpid(), signal.SIGTERM)
        wait_to_die()
        del streams, registry

    assert in_a_child(work)[1] == signal.SIGTERM


def test_a_stream_that_cannot_be_told_does_not_keep_the_process() -> None:
    def work() -> None:
        signals.GRACE_SECONDS = 0.1  # type: ignore[misc]
        registry, streams = drained_registry(None, RuntimeError("its loop was closed just now"), None)
        signals.ensure_drain_handler()
        os.kill(os.getpid(), signal.SIGTERM)
        wait_to_die()
        del streams, registry

    assert in_a_child(work)[1] == signal.SIGTERM


def test_a_drain_that_fails_does_not_keep_the_process() -> None:
    def work() -> None:
        registry, _streams = drained_registry(None)
        registry.drained = None  # type: ignore[method-assign, assignment]
        signals.ensure_drain_handler()
        os.kill(os.getpid(), signal.SIGTERM)
        wait_to_die()

    assert in_a_child(work)[1] == signal.SIGTERM


def test_who_ignores_a_signal_goes_on_ignoring_it() -> None:
    """A shell starts background jobs with SIGINT ignored; nothing must drain there."""

    def work() -> str:
        registry, streams = drained_registry(None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signals.ensure_drain_handler()
        os.kill(os.getpid(), signal.SIGINT)
        stays(lambda: not registry.draining)
        return f"{registry.draining} {len(streams)}"

    assert in_a_child(work) == ("False 1", 0)


class Exiting(Stream):
    def end_by(self, when: float) -> None:
        os._exit(3)


@pytest.mark.parametrize("whose", ["child", "parent"])
def test_a_forked_child_drains_its_own_streams(whose: str) -> None:
    """It inherits the handler of its parent, which is on top and does nothing there, and streams that it does not serve."""

    def parent() -> str:
        signals.ensure_drain_handler()
        registry, _ = drained_registry()
        stream = Exiting(registry)
        pid = os.fork()
        if pid == 0:
            if whose == "child":
                registry, _ = drained_registry()
                stream = Exiting(registry)
            signals.ensure_drain_handler()
            os.kill(os.getpid(), signal.SIGTERM)
            wait_to_die()
        status = os.waitpid(pid, 0)[1]
        del stream
        return "drained" if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 3 else f"status {status}"

    expected = "drained" if whose == "child" else f"status {int(signal.SIGTERM)}"
    assert in_a_child(parent) == (expected, 0)


def test_the_second_signal_goes_straight_on() -> None:
    def work() -> str:
        got: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
        registry = Registry()
        signals.drain_at_exit(registry, 0.0)

        class Endless(Stream):
            def end_by(self, when: float) -> None: ...

        stream = Endless(registry)
        signals.ensure_drain_handler()
        os.kill(os.getpid(), signal.SIGTERM)
        assert got == []
        os.kill(os.getpid(), signal.SIGTERM)
        del stream
        return str(got)

    assert in_a_child(work) == (f"[{int(signal.SIGTERM)}]", 0)


def test_without_streams_the_handler_is_not_in_the_way() -> None:
    def work() -> None:
        signals.ensure_drain_handler()
        os.kill(os.getpid(), signal.SIGTERM)
        wait_to_die()

    assert in_a_child(work)[1] == signal.SIGTERM


def test_every_stream_hears_of_a_drain() -> None:
    registry = Registry()
    streams = [Stream(registry, error) for error in (None, RuntimeError("its loop was closed just now"), None)]
    registry.begin_drain(0.0)
    assert len(registry) == 1
    late = Stream(registry)
    assert len(registry) == 1
    assert not registry.drained(0.0)
    registry.discard(streams[1])
    assert registry.drained(0.0)
    del late


def test_a_drain_while_a_stream_opens_on_another_thread() -> None:
    told: set[Stream] = set()

    class Told(Stream):
        def end_by(self, when: float) -> None:
            told.add(self)

    registry = Registry()
    streams: list[Stream] = [Told(registry) for _ in range(3)]

    class Busy(weakref.WeakSet[Any]):
        """Another thread adds a stream in the middle of the first look."""

        def __iter__(self) -> Iterator[Any]:
            for item in super().__iter__():
                if len(streams) == 3:
                    streams.append(Told(registry))
                yield item

    registry._streams = Busy(registry._streams)
    registry.begin_drain(0.0)
    assert len(streams) == 4
    assert told == set(streams)


def test_a_forked_child_has_no_streams() -> None:
    with Bridge("memory://") as bridge:
        stream = Stream(bridge.streams)

        def work() -> str:
            bridge.publish("a", 1)
            return str(len(bridge.streams))

        assert in_a_child(work) == ("0", 0)
        assert len(bridge.streams) == 1
        bridge.streams.discard(stream)
