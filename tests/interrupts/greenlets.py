"""A `gevent.Timeout` at each place where a call switches to another greenlet; run under gevent's monkey patching.

    python -c "…patch…; from tests.interrupts.greenlets import main; main(URL)"

Prints how many timeouts came in the middle of a call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import gevent
import greenlet

from sse_bridge import Bridge
from sse_bridge.hub import threads
from tests.hub.scenarios import our_threads
from tests.support.wait import wait_for

PATIENCE_SECONDS = 60


def timed_out(call: Callable[[], object], number: int) -> bool:
    """Whether the call was ended where it switched for the n-th time."""
    hub, seen, ended = gevent.get_hub(), 0, False

    def body() -> None:
        try:
            call()
        except gevent.Timeout:
            return

    caller = gevent.Greenlet(body)

    def trace(event: str, args: Any) -> None:
        nonlocal seen, ended
        if args[0] is caller and not caller.dead:
            seen += 1
            if seen == number:
                ended = True
                hub.loop.run_callback(caller.throw, gevent.Timeout(None))

    previous = greenlet.settrace(trace)
    try:
        caller.start()
        caller.get(timeout=PATIENCE_SECONDS)
    finally:
        greenlet.settrace(previous)
    return ended


def main(url: str) -> None:
    threads.TICK_SECONDS = 0.02  # type: ignore[misc]
    timeouts = 0
    with Bridge(url, linger_seconds=0, publish_timeout_seconds=5) as bridge:

        def follow() -> None:
            with bridge.subscribe("a", after="earliest") as stream:
                assert stream.wait_ready(PATIENCE_SECONDS)
                assert stream.next(PATIENCE_SECONDS) is not None
                stream.next(0.01)

        def first_use() -> None:
            with Bridge(url) as another:
                another.publish("a", 1)

        calls: list[Callable[[], object]] = [
            lambda: bridge.publish("a", 1),
            lambda: bridge.publish_many([("a", 1), ("b", 2)]),
            lambda: bridge.history("a"),
            lambda: bridge.revoke(user="ann", seconds=1),
            bridge.dead_letters,
            follow,
            first_use,
        ]
        for call in calls:
            number = 1
            while timed_out(call, number):
                all_work(bridge, f"works:{timeouts}")
                timeouts += 1
                number += 1
        client = getattr(bridge.backend, "_client", None)
        if client is not None:
            assert len(client.slots) == sum(map(len, client._idle.values()))
        wait_for(lambda: bridge.thread_hub().readers() == 0, what="the readers to leave")
        wait_for(lambda: not our_threads(), what="the threads to end")
    print(timeouts)


def all_work(bridge: Bridge, channel: str) -> None:
    def work() -> None:
        position = bridge.publish(channel, 1)
        with bridge.subscribe(channel, last=1) as stream:
            event = stream.next(PATIENCE_SECONDS)
        assert event is not None
        assert position is not None

    with gevent.Timeout(PATIENCE_SECONDS):
        work()
        others = [threading.Thread(target=work) for _ in range(2)]
        for other in others:
            other.start()
        for other in others:
            other.join()
