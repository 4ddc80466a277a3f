"""What two threads of a forked child call first, at once: each part begins anew once, and neither meets its parent's."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import traceback
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.backends.memory import MemoryBackend
from sse_bridge.backends.redis.backend import RedisBackend
from sse_bridge.backends.redis.threads import Client
from sse_bridge.errors import BackendUnavailable
from sse_bridge.publishing.spooling import Spooling
from tests.support.process import ROOT
from tests.support.wait import stays

PARTS = (Bridge, Spooling, MemoryBackend, RedisBackend, Client)
BEGIN_SECONDS = 0.02  # what a beginning takes here, so that the other thread comes in the middle of it


def subscribe(bridge: Bridge) -> None:
    with bridge.subscribe("b") as stream:
        assert stream.wait_ready(60)
        assert stream._reader._hub is bridge.thread_hub(), "the other thread threw the hub away"


def look_at_hubs(bridge: Bridge) -> None:
    assert not [hub for hub in bridge.hubs() if getattr(hub, "inherited", False)]


def look_for_revocations(bridge: Bridge) -> None:
    assert not bridge.revoked("ada", ("b",))


def spool(bridge: Bridge) -> None:
    def away(*batches: Any) -> Any:
        raise BackendUnavailable("not now")

    inner = bridge.backend.inner  # type: ignore[attr-defined]
    inner.append = inner.append_many = away
    assert bridge.publish("c", 1) is None


def there_again(bridge: Bridge) -> None:
    inner = bridge.backend.inner  # type: ignore[attr-defined]
    del inner.append, inner.append_many


def look_at_the_spool(bridge: Bridge) -> None:
    assert bridge.spool.queued <= 1, "its parent's are among them"


CALLS: dict[str, Callable[[Bridge], Any]] = {
    "publish": lambda bridge: bridge.publish("b", 1),
    "subscribe": subscribe,
    "hubs": look_at_hubs,
    "revoked": look_for_revocations,
    "revoke": lambda bridge: bridge.revoke(user="bob"),
    "spool": spool,
    "spooled": look_at_the_spool,
}


def child(bridge: Bridge, calls: list[Callable[[Bridge], Any]]) -> str:
    """What went wrong in the child; empty: nothing."""
    begun: list[str] = []
    wrong: list[str] = []
    barrier = threading.Barrier(len(calls))

    def slowly(part: Any, begin: Callable[[Any], None]) -> Callable[[Any], None]:
        def slow(owner: Any) -> None:
            begun.append(part.__name__)
            stays(lambda: begun.count(part.__name__) == 1, BEGIN_SECONDS)
            begin(owner)

        return slow

    for part in PARTS:
        part._begin = slowly(part, part._begin)  # type: ignore[attr-defined]

    def run(call: Callable[[Bridge], Any]) -> None:
        try:
            barrier.wait(60)
            call(bridge)
        except BaseException:
            wrong.append(traceback.format_exc())

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    wrong += [f"{part} began {begun.count(part)} times" for part in set(begun) if begun.count(part) > 1]
    wrong += [f"{thread} hangs" for thread in threads if thread.is_alive()]
    spooled = calls.count(spool)
    if bridge.spool.queued < spooled:
        wrong.append(f"{bridge.spool.queued} of {spooled} events are spooled")
    return "\n".join(wrong)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("url", ["memory://", pytest.param("redis", marks=pytest.mark.needs("redis7"))])
@pytest.mark.parametrize(("one", "other"), list(itertools.combinations_with_replacement(CALLS, 2)))
def test_the_first_calls_of_a_child(one: str, other: str, url: str, request: pytest.FixtureRequest) -> None:
    address = request.getfixturevalue("redis_url") if url == "redis" else url
    prefix = f"t{uuid.uuid4().hex[:12]}"
    with Bridge(address, prefix=prefix, on_unavailable="spool", publish_timeout_seconds=5) as bridge:
        bridge.publish("a", "parent")
        spool(bridge)
        spool(bridge)
        assert bridge.spool.queued == 2
        with bridge.subscribe("a") as stream:
            assert stream.wait_ready(60)
            read_end, write_end = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    there_again(bridge)
                    os.write(write_end, json.dumps(child(bridge, [CALLS[one], CALLS[other]])).encode())
                finally:
                    os._exit(0)
            there_again(bridge)
            os.close(write_end)
            with os.fdopen(read_end, "rb") as answer:
                assert json.loads(answer.read()) == ""
            os.waitpid(pid, 0)


HOOK = """
import os
done = []
def hook():
    with bridge.subscribe("a", after="earliest") as stream:
        bridge.publish("a", 2)
        os.write(1, repr(stream.next(60).data).encode())
os.register_at_fork(after_in_child=hook)
from sse_bridge import Bridge
bridge = Bridge("memory://")
bridge.publish("a", 1)
with bridge.subscribe("a") as stream:
    stream.wait_ready(60)
if os.fork() == 0:
    os._exit(0)
os.wait()
"""


def test_an_at_fork_hook_that_runs_before_ours_meets_nothing_of_the_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOOK], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "2", done.stderr
