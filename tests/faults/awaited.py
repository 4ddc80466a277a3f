"""Every call of the library that users await, by introspection, and which of them are cancelled in `cancellation_faults`.

A new one that stands in neither list fails `test_awaited.py`; one that stands in `CANCELLED` and was never cancelled
while it waited fails its row.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any, Final

from sse_bridge.subscription import AsyncSubscription
from tests.support.source_tree import packages

# what is cancelled in the life of a caller,
IN_A_LIFE: Final = frozenset({
    "Bridge.aclose", "Bridge.aclose_channel", "Bridge.ahistory", "Bridge.apublish", "Bridge.apublish_many",
    "Bridge.arevoke", "Bridge.aunrevoke",
    "AsyncSubscription.__anext__", "AsyncSubscription.next", "AsyncSubscription.wait_ready",
})  # fmt: skip
# and what of it waits on the memory backend: for events, and with policy `block` for a reader
IN_MEMORY: Final = frozenset({
    "Bridge.apublish", "Bridge.apublish_many",
    "AsyncSubscription.__anext__", "AsyncSubscription.next", "AsyncSubscription.wait_ready",
})  # fmt: skip
# what is cancelled while a spool fills and empties
AROUND_A_SPOOL: Final = frozenset({
    "Bridge.adead_letters", "Bridge.apublish", "Bridge.apublish_many", "Bridge.aresend_dead_letters",
})  # fmt: skip
# what a consumer of Channels awaits
IN_A_CONSUMER: Final = frozenset({"ChannelFollowerMixin.follow"})
CANCELLED: Final = IN_A_LIFE | AROUND_A_SPOOL | IN_A_CONSUMER

# not cancelled in any row, and why that hides nothing
EXPLAINED: Final = {
    "AsyncSubscription.aclose": "never waits, so a cancel can only land before it begins; a life cancels it all the same",
    "ChannelFollowerMixin.unfollow": "never waits",
    "Bridge.aposition": "is one read, as that of ahistory, which a life cancels",
    "Bridge.asnapshot": "is aposition, and then the application's own function",
    "Bridge.adrain": "begins the drain before it waits, and only looks whether the streams have ended",
    "sse_bridge_asgi.send_source": "is the application of a connection: its cancel is the server's, at the client's leaving",
    "sse_bridge_starlette.send_source": "likewise",
    "Bridge.__aenter__": "returns itself",
    "Bridge.__aexit__": "is aclose",
    "AsyncSubscription.__aexit__": "is aclose",
    "sse_bridge.apublish": "is Bridge.apublish of the default bridge",
    "sse_bridge_django.apublish": "the same function",
    "sse_bridge_flask.apublish": "is Bridge.apublish of the app's bridge",
    "SSEBridge.apublish": "likewise",
    "sse_bridge_flask.aevent_stream": "waits for the application's own hook only, and starts nothing before it is through",
    "ChannelFollowerMixin.dispatch": "called by Channels; hands on to the consumer's own methods",
    "ChannelFollowerMixin.on_event": "the application overrides it",
    "ChannelFollowerMixin.on_follow_error": "the application overrides it",
    "AsyncStreamReader.__aexit__": "sse_bridge.testing: for one test, on a stream of its own",
    "AsyncStreamReader.aclose": "likewise",
    "AsyncStreamReader.next": "likewise",
    "AsyncStreamReader.rest": "likewise",
    "AsyncStreamReader.take": "likewise",
    "Recorder.aexpect": "sse_bridge.testing: looks at what was recorded, and asks nobody",
}


def public_calls() -> set[str]:
    """What a user can await: coroutine functions that packages export, and those of exported classes."""
    found = set(_of_class(AsyncSubscription))  # what asubscribe returns
    names = [package.name for package in packages()]
    for name in [*names, "sse_bridge.testing"]:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            thing = getattr(module, public)
            if inspect.isclass(thing):
                found.update(_of_class(thing))
            elif inspect.iscoroutinefunction(thing):
                found.add(f"{name}.{public}")
    return found


def _of_class(kind: type[Any]) -> Iterator[str]:
    for name in dir(kind):
        if name.startswith("_") and not name.startswith("__a"):
            continue
        method = getattr(kind, name)
        if inspect.iscoroutinefunction(method) and method.__module__.startswith("sse_bridge"):
            yield f"{kind.__name__}.{name}"
