"""A signal handler that uses the bridge itself, at each point of a call: it may be refused, and never waits for its own thread."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

import pytest

from sse_bridge import Bridge
from sse_bridge.errors import BackendUnavailable, BridgeClosed
from sse_bridge.hub import threads
from tests.interrupts.checks import all_is_back
from tests.support.interrupting import interruptions
from tests.support.wait import wait_for


def follow(bridge: Bridge, seconds: float = 0.0) -> None:
    with bridge.subscribe("a", after="earliest") as stream:
        stream.wait_ready(seconds)
        stream.next(0.0)


def publish(bridge: Bridge) -> None:
    bridge.publish("a", 1)


CALLS = {"publish": publish, "follow": follow, "hub": lambda bridge: bridge.thread_hub()}


@pytest.mark.parametrize("within", CALLS)
@pytest.mark.parametrize("handler", ["publish", "follow"])
def test_a_handler_that_uses_the_bridge(handler: str, within: str, bridge: Bridge) -> None:
    bridge.publish("a", 0)

    def handle() -> None:
        with contextlib.suppress(RuntimeError):  # where this thread holds the lock
            CALLS[handler](bridge)

    for interruption in interruptions(step=4 if handler == "follow" else 2, handler=handle):
        bridge._thread_hub, before = None, bridge._thread_hub
        if before is not None:
            before.close()
        interruption.run(lambda: CALLS[within](bridge))
        publish(bridge)
        follow(bridge, 10.0)
    all_is_back(bridge)


@pytest.mark.parametrize("within", ["publish", "follow", "hub"])
def test_a_handler_that_closes_the_bridge(
    within: str, make_bridge: Callable[..., Bridge], monkeypatch: pytest.MonkeyPatch
) -> None:
    bridges: list[Bridge] = []
    monkeypatch.setattr(
        threads, "JOIN_SECONDS", 0.0
    )  # the housekeeping thread cannot end while the interrupted call has the lock
    step = 3 if make_bridge().backend.name == "memory" else 60  # each look at the server has hundreds

    def close() -> None:
        bridges[-1].close()

    for interruption in interruptions(step=step, handler=close):
        bridges.append(make_bridge())

        def call() -> None:
            try:
                CALLS[within](bridges[-1])
            except BridgeClosed:
                assert bridges[-1].closed

        interruption.run(call)
        bridges[-1].close()
        assert bridges[-1]._thread_hub is None, interruption


def test_a_handler_that_publishes_while_the_first_publish_waits_for_the_server() -> None:
    outcomes: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as mute:
        bridge = Bridge(f"redis://127.0.0.1:{mute.getsockname()[1]}/0", publish_timeout_seconds=1.0)

        def attempt() -> None:
            with pytest.raises(BackendUnavailable):
                bridge.publish("a", 1)
            outcomes.append("refused")

        def handle(number: int, frame: FrameType | None) -> None:
            attempt()

        def send() -> None:
            with mute.accept()[0]:
                os.kill(os.getpid(), signal.SIGUSR1)
                wait_for(lambda: len(outcomes) == 2, what="both publishes")

        before = signal.signal(signal.SIGUSR1, handle)
        try:
            sender = threading.Thread(target=send)
            sender.start()
            attempt()
            sender.join()
        finally:
            signal.signal(signal.SIGUSR1, before)
            bridge.close()
    assert outcomes == ["refused", "refused"]
