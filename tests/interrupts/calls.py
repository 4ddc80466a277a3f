"""Every public call that runs on its caller's thread, by introspection, and where each is interrupted.

A new one that stands in no list fails `test_completeness.py`, and so does one that stands in `CALLS` and is not called.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from sse_bridge import Bridge, Event
from sse_bridge.subscription import Subscription
from tests.support.interrupting import LEAST_POINTS
from tests.support.source_tree import packages


class Call(NamedTuple):
    """One call, interrupted at each of its points in `test_calls.py`.

    Attributes:
        method: the method of `Bridge` that it calls.
        step: only every so manieth point, for calls of thousands.
        least: it has more points than these.
    """

    method: str
    run: Callable[[Bridge], object]
    step: int = 1
    least: int = LEAST_POINTS


CALLS: Final[dict[str, Call]] = {
    "publish": Call("publish", lambda bridge: bridge.publish("a", {"n": 1})),
    "publish_with_key": Call("publish", lambda bridge: bridge.publish("a", {"n": 1}, idempotency_key="once")),
    "publish_live": Call("publish", lambda bridge: bridge.publish("a", {"n": 1}, store=False)),
    "publish_many": Call("publish_many", lambda bridge: bridge.publish_many([("a", 1), ("b", 2), Event("a", 3)])),
    "close_channel": Call("close_channel", lambda bridge: bridge.close_channel("ended")),
    "history": Call("history", lambda bridge: bridge.history("a", limit=3)),
    "position": Call("position", lambda bridge: bridge.position(["a", "b"])),
    "snapshot": Call("snapshot", lambda bridge: bridge.snapshot(["a", "b"], lambda: 1)),
    "revoke": Call("revoke", lambda bridge: bridge.revoke(user="u1", seconds=1)),
    "unrevoke": Call("unrevoke", lambda bridge: bridge.unrevoke(user="u1")),
    "revoked": Call("revoked", lambda bridge: bridge.revoked("u1", ("a",)), least=8),  # a look at each hub, and no more
    "token": Call("token", lambda bridge: bridge.token(["a", "b"], "u1")),
    "dead_letters": Call("dead_letters", lambda bridge: bridge.dead_letters()),
    "resend_dead_letters": Call("resend_dead_letters", lambda bridge: bridge.resend_dead_letters()),
    "subscribe": Call("subscribe", lambda bridge: bridge.subscribe(["a", "b"])),
    "subscribe_request": Call("subscribe_request", lambda bridge: bridge.subscribe_request(["a", "b"])),
    "drain": Call("drain", lambda bridge: bridge.drain(0)),
    "hubs": Call("hubs", lambda bridge: bridge.hubs(), least=8),
    # where the hub is there a look at it and no more; where it is not, `first_use` makes it at each of its points
    "thread_hub": Call("thread_hub", lambda bridge: bridge.thread_hub(), least=5),
    # reading the environment and the settings is tens of thousands of points
    "from_settings": Call("from_settings", lambda bridge: Bridge.from_settings({"url": "memory://"}), step=607),
}

# in tests of their own, since they need more than a bridge, or leave less
TESTS: Final = {
    "Bridge.close": "test_ends.test_a_close_of_a_bridge_that_was_interrupted_is_made_again",
    "Bridge.drain": "test_ends.test_an_interrupted_drain_is_made_again",
    "Bridge.resend_dead_letters": "test_ends.test_an_interrupted_resend_publishes_each_dead_letter_once",
    "Bridge.thread_hub": "test_ends.test_an_interrupted_first_use_is_made_again",
    "Subscription.wait_ready": "test_calls.test_an_interrupted_subscription_leaves_nothing_behind",
    "Subscription.next": "test_reading.test_an_interrupted_next_loses_no_event_and_gives_none_twice",
    "Subscription.__exit__": "test_calls.test_an_interrupted_subscription_leaves_nothing_behind",
    "Subscription.close": "test_ends.test_an_interrupted_close_of_a_reader_is_finished",
    "sse_bridge.configure": "test_ends.test_an_interrupted_first_use_of_the_default_bridge_is_made_again",
    "sse_bridge.get_bridge": "test_ends.test_an_interrupted_first_use_of_the_default_bridge_is_made_again",
    "sse_bridge.publish": "test_ends.test_an_interrupted_first_use_of_the_default_bridge_is_made_again",
}

# interrupted in no test, and why that hides nothing
EXPLAINED: Final = {
    "Bridge.asubscribe": "is called on an event loop, where a signal's exception ends the loop; cancels are in tests/faults",
    "Bridge.loop_hub": "likewise",
    "Bridge.__enter__": "returns itself",
    "Bridge.__exit__": "is close",
    "Subscription.__next__": "is next",
    "sse_bridge_flask.get_bridge": "looks it up in the app, or is that of sse_bridge",
    "sse_bridge_flask.publish": "is Bridge.publish of the app's bridge",
    "SSEBridge.publish": "likewise",
}


def public_calls() -> set[str]:
    """What a user can call on a thread: methods, the core's functions, and what adapters export under the same names."""
    found = {*_of_class(Bridge), *_of_class(Subscription)}
    core = importlib.import_module("sse_bridge")
    twins = {name.rpartition(".")[2] for name in found if not name.endswith("__")} | set(core.__all__)
    for package in packages():
        module = importlib.import_module(package.name)
        for public in module.__all__:
            thing = getattr(module, public)
            if inspect.isclass(thing) and module is not core:
                found.update(name for name in _of_class(thing) if name.rpartition(".")[2] in twins)
            elif _is_sync(thing) and public in twins and (module is core or getattr(core, public, None) is not thing):
                found.add(f"{module.__name__}.{public}")
    return found


def _of_class(kind: type[Any]) -> Iterator[str]:
    for name in dir(kind):
        if name.startswith("_") and name not in ("__enter__", "__exit__", "__iter__", "__next__"):
            continue
        method = getattr(kind, name)
        if _is_sync(method) and method.__module__.startswith("sse_bridge"):
            yield f"{kind.__name__}.{name}"


def _is_sync(thing: object) -> bool:
    return (inspect.isfunction(thing) or inspect.ismethod(thing)) and not inspect.iscoroutinefunction(thing)
