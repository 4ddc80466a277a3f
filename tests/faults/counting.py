"""What a process holds: tasks, threads, greenlets, open files, readers, streams, and every object of a class of ours;
apart from them, writes that wait for their client.

Sites import this first. It turns the garbage collector off, so that what only a collection would give back stays counted;
a soak keeps it on, for servers make garbage of their own.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections import Counter
from typing import Any

from sse_bridge import Bridge
from sse_bridge.streams.writers.stepping import Stepper

if "COLLECT_GARBAGE" not in os.environ:
    gc.disable()

_OURS = ("sse_bridge", "tests.")
# Made once per process, or kept in a pool or cache whose size says nothing about readers.
_POOLED = ("Connection", "Position", "StartPoint", "StreamRequest", "SubscribeRequest")


def counts(bridge: Bridge) -> dict[str, int]:
    """Call it on the loop's thread where there is a loop."""
    found: Counter[str] = Counter()
    for item in gc.get_objects():
        kind = type(item)
        module = kind.__module__  # a descriptor on some C types
        if isinstance(module, str) and module.startswith(_OURS) and kind.__name__ not in _POOLED:
            found[f"{module}.{kind.__qualname__}"] += 1
    found["greenlets"] = _greenlets()
    # a server's pool has threads as long as it lives, and makes them when it needs them
    found["threads"] = sum(not thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate())
    found["files"] = len(os.listdir("/proc/self/fd"))
    found["streams"] = len(bridge.streams)
    hubs: list[Any] = [*bridge._loop_hubs.values(), *([bridge._thread_hub] if bridge._thread_hub else [])]
    found["readers"] = sum(hub.readers() for hub in hubs)
    try:
        found["tasks"] = len(asyncio.all_tasks())
    except RuntimeError:
        pass  # no loop runs here
    return dict(found)


def blocked() -> int:
    """Writes of pushed streams that wait for their client; asked alone, for all counts keep a server busy that is asked often."""
    return sum(type(item) is Stepper and item.busy for item in gc.get_objects())


def _greenlets() -> int:
    module = sys.modules.get("greenlet")
    if module is None:
        return 0
    # by type(): isinstance() would follow weak proxies
    return sum(issubclass(type(item), module.greenlet) and not item.dead for item in gc.get_objects())
