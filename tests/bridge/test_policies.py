"""Slow readers: every policy moves a cursor, counts and tells."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.errors import (
    InvalidInput,
    PolicyNotSupported,
    PublishBlocked,
    SlowReader,
)

from .both import Both, data


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"policy": "bogus"}, "catch_up, drop_oldest.*'bogus'"),
        ({"queue_size": 0}, "queue_size.*got 0"),
        ({"queue_size": "9"}, "queue_size.*got '9'"),
        ({"filter": lambda event: True}, "Where.*lambda"),
    ],
)
def test_what_is_no_policy_is_told_at_once(option: dict[str, Any], told: str) -> None:
    with Bridge("memory://") as bridge, pytest.raises(InvalidInput, match=told):
        bridge.subscribe("a", **option)


def test_drop_oldest(both: Both) -> None:
    stream = both.subscribe("a", policy="drop_oldest", queue_size=3)
    both.publish("a", 0)
    assert stream.next().data == 0
    for n in range(1, 11):
        both.publish("a", n)
    both_wait(both, stream, 11)
    gap = stream.next()
    assert gap.data == {"channel": "a", "reason": "slow", "missed": 7}
    assert data([stream.next() for _ in range(3)]) == [8, 9, 10]
    assert stream.stream.dropped == 7
    stream.close()


def test_drop_newest(both: Both) -> None:
    stream = both.subscribe("a", policy="drop_newest", queue_size=3)
    both.publish("a", 0)
    assert stream.next().data == 0
    for n in range(1, 11):
        both.publish("a", n)
    both_wait(both, stream, 11)
    assert data([stream.next() for _ in range(3)]) == [1, 2, 3]
    gap = stream.next()
    assert gap.data == {"channel": "a", "reason": "slow", "missed": 7}
    both.publish("a", 11)
    assert stream.next().data == 11
    stream.close()


def test_latest_only(both: Both) -> None:
    stream = both.subscribe("a", policy="latest_only")
    both.publish("a", 0)
    assert stream.next().data == 0
    for n in range(1, 6):
        both.publish("a", n)
    both_wait(both, stream, 6)
    assert stream.next().data == {"channel": "a", "reason": "slow", "missed": 4}
    assert stream.next().data == 5
    stream.close()


def test_disconnect(both: Both) -> None:
    stream = both.subscribe("a", policy="disconnect", queue_size=3)
    both.publish("a", 0)
    assert stream.next().data == 0
    for n in range(1, 6):
        both.publish("a", n)
    both_wait(both, stream, 6)
    with pytest.raises(SlowReader, match="queue_size=3"):
        stream.next()
    stream.close()


@pytest.mark.parametrize("policy", ["disconnect", "drop_oldest", "drop_newest", "latest_only"])
def test_a_policy_is_for_those_who_fall_behind_not_for_those_who_come_back(both: Both, policy: Any) -> None:
    """Who is disconnected for being slow resumes by its id, and would be disconnected again before its first event."""
    first = both.publish("a", 0)
    for n in range(1, 11):
        both.publish("a", n)
    elsewhere = both.subscribe("a", after="earliest")
    assert data([elsewhere.next() for _ in range(11)]) == list(range(11))  # so it is all in the window
    stream = both.subscribe("a", after=first, policy=policy, queue_size=3)
    assert data([stream.next() for _ in range(10)]) == list(range(1, 11))
    assert stream.stream.dropped == 0
    assert stream.next(0) is None  # it was at the head: from now on the policy is for it
    for n in range(11, 21):
        both.publish("a", n)
    both_wait(both, stream, 21)
    try:
        while stream.next().type != "stream.gap":
            continue
    except SlowReader:
        assert policy == "disconnect"
    stream.close()
    elsewhere.close()


def test_a_policy_is_for_who_began_at_the_head(both: Both) -> None:
    stream = both.subscribe("a", policy="drop_oldest", queue_size=3)
    for n in range(10):
        both.publish("a", n)
    both_wait(both, stream, 10)
    assert stream.next().data == {"channel": "a", "reason": "slow", "missed": 7}
    stream.close()


def both_wait(both: Both, stream: Any, top: int) -> None:
    """Until the process has heard of the entry at `top`: the policies look at what it knows."""
    cursor = stream.stream._reader.follower.cursors[0]

    def known() -> bool:
        window = cursor.feed.window
        return window is not None and window.head.offset >= top

    if both.asynchronous:

        async def wait() -> None:
            while not known():
                await asyncio.sleep(0)

        both.run(asyncio.wait_for(wait(), 60))
    else:
        deadline = threading.Event()
        for _ in range(1000):
            if known():
                return
            deadline.wait(0.01)
        assert known()


def test_block_makes_a_publisher_wait(both: Both) -> None:
    if not both.bridge.backend.can_block:
        with pytest.raises(PolicyNotSupported, match="memory"):
            both.subscribe("a", policy="block")
        return
    bridge = Bridge("memory://", block_timeout_seconds=0.05)
    blocked = Both(bridge, both.asynchronous)
    stream = blocked.subscribe("a", policy="block", queue_size=2)
    blocked.publish("a", 1)
    blocked.publish("a", 2)
    with pytest.raises(PublishBlocked, match="block_timeout_seconds"):
        blocked.publish("a", 3)
    assert stream.next().data == 1
    assert stream.next().data == 2
    blocked.publish("a", 4)
    stream.close()
    for n in range(10):
        blocked.publish("a", n)
    blocked.close()


def test_a_blocked_publisher_goes_on_when_there_is_room() -> None:
    with Bridge("memory://") as bridge, bridge.subscribe("a", policy="block", queue_size=1) as stream:
        assert stream.wait_ready(60)
        publisher = threading.Thread(target=lambda: [bridge.publish("a", n) for n in range(20)])
        publisher.start()
        assert [stream.next(60).data for _ in range(20)] == list(range(20))
        publisher.join(60)
