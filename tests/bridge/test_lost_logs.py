"""A log that is lost and begins anew: nothing that this process kept of the first life counts or is shown in the second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sse_bridge import Bridge, Event
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

from .both import Both, data
from .test_policies import both_wait

Lose = Callable[[], object]


@pytest.fixture(params=["sync", "async"])
def losing(request: pytest.FixtureRequest, private_redis: Callable[..., RedisServer]) -> Iterator[tuple[Both, Lose]]:
    """A bridge, and what loses its logs: FLUSHALL. (In memory a log that somebody reads never begins anew.)"""
    server = private_redis()
    both = Both(Bridge(server.url), request.param == "async")
    yield both, lambda: flush(server)
    both.close()


@pytest.fixture(params=["memory-sync", "memory-async", "redis-sync", "redis-async"])
def unread(request: pytest.FixtureRequest) -> Iterator[tuple[Both, Lose]]:
    """The same where nobody reads at the moment: in memory a log that was quiet makes room for another one."""
    kind, colour = request.param.split("-")
    server = None if kind == "memory" else request.getfixturevalue("private_redis")()
    url = "memory://" if server is None else server.url
    both = Both(Bridge(url, memory_max_channels=1, linger_seconds=0.0), colour == "async")

    def make_room() -> bool:
        both.publish("other", 1)
        return both.history("a") == []

    yield both, lambda: wait_for(make_room, what="a's log to make room") if server is None else flush(server)
    both.close()


def flush(server: RedisServer) -> None:
    assert server.command("FLUSHALL") == b"+OK\r\n"


def fill(both: Both, numbers: range) -> None:
    for n in numbers:
        both.publish("a", n)


def taken(stream: Any, count: int) -> list[Event]:
    events = [stream.next() for _ in range(count)]
    assert None not in events
    return events


def halves(stream: Any, last: Any) -> tuple[list[Event], list[Event]]:
    """What comes before the one gap that tells of the lost log, and behind it, up to the last event."""
    events: list[Event] = []
    while not events or events[-1].data != last:
        events += taken(stream, 1)
    gaps = [number for number, event in enumerate(events) if told([event]) == ["epoch"]]
    assert len(gaps) == 1
    return events[: gaps[0]], events[gaps[0] + 1 :]


def told(events: list[Event]) -> list[Any]:
    """The data, and the reasons of gaps."""
    return [event.data["reason"] if event.type == "stream.gap" else event.data for event in events]


def test_dropped_counts_on(losing: tuple[Both, Lose]) -> None:
    both, lose = losing
    stream = both.subscribe("a", policy="drop_oldest", queue_size=3)
    fill(both, range(1))
    assert told(taken(stream, 1)) == [0]
    fill(both, range(1, 11))
    both_wait(both, stream, 11)
    assert told(taken(stream, 4)) == ["slow", 8, 9, 10]
    assert stream.stream.dropped == 7
    lose()
    fill(both, range(100, 102))
    assert told(taken(stream, 3)) == ["epoch", 100, 101]
    assert stream.stream.dropped == 7, "what the broker lost is told by its gap, and no policy dropped it"
    cursor = stream.stream._reader.follower.cursors[0]
    wait_for(lambda: stream.next(0.01) is None and cursor.in_window, what="the head, where its policy moves it again")
    fill(both, range(102, 112))
    both_wait(both, stream, 12)
    gap, *events = taken(stream, 4)
    assert gap.data == {"channel": "a", "reason": "slow", "missed": 7}
    assert data(events) == [109, 110, 111]
    assert stream.stream.dropped == 14
    stream.close()


def test_what_waited_of_a_lost_log_is_dropped_once_at_most(losing: tuple[Both, Lose]) -> None:
    """The reader takes nothing until both lives have more than its queue."""
    both, lose = losing
    stream = both.subscribe("a", policy="drop_oldest", queue_size=3)
    fill(both, range(1))
    assert told(taken(stream, 1)) == [0]
    fill(both, range(1, 11))
    both_wait(both, stream, 11)
    lose()
    fill(both, range(100, 112))
    before, after = halves(stream, 111)
    slow = [event.data["missed"] for event in before + after if event.type == "stream.gap"]
    assert stream.stream.dropped == sum(slow)
    assert set(told(before)) <= {"slow", 8, 9, 10}
    assert set(told(after)) <= {"slow", *range(100, 112)}
    stream.close()


def test_nothing_of_the_lost_life_is_sent_to_who_comes_in_the_next(unread: tuple[Both, Lose]) -> None:
    """Window, batches and pages of the first life are still warm: it was read to its end, and from its middle."""
    both, lose = unread
    positions = [both.publish("a", n) for n in range(10)]
    middle = positions[4]
    warm = [both.subscribe("a", after="earliest"), both.subscribe("a", after=middle)]
    assert told(taken(warm[0], 10)) == list(range(10))
    assert told(taken(warm[1], 5)) == [5, 6, 7, 8, 9]
    for stream in warm:
        stream.close()
    lose()
    fill(both, range(100, 103))
    new = [100, 101, 102]
    first = both.subscribe("a", after=middle)
    before, after = halves(first, 102)
    assert told(before) == list(range(5, 5 + len(before))), (
        "until it has heard of the loss, a process gives what it has"
    )
    assert told(after) == new
    first.close()
    for options, expected in (
        ({"after": middle}, ["epoch", *new]),
        ({"after": str(positions[9])}, ["epoch", *new]),
        ({"after": "earliest"}, new),
        ({"last": 10}, new),
    ):
        again = both.subscribe("a", **options)
        assert told(taken(again, len(expected))) == expected
        again.close()
    assert told(both.history("a")) == new
    assert told(both.history("a", after=middle)) == ["epoch", *new]


def test_a_page_that_was_read_of_the_lost_life_is_not_gone_on_with_in_the_next(losing: tuple[Both, Lose]) -> None:
    """A reader far behind keeps a page of the log while it waits for its client."""
    both, lose = losing
    for n in range(40):
        both.publish("a", f"{n} " + "x" * 1000)
    stream = both.subscribe("a", after="earliest")
    assert taken(stream, 1)[0].data.startswith("0 ")
    lose()
    fill(both, range(100, 103))
    before, after = halves(stream, 102)
    assert told(after) == [100, 101, 102]
    assert [int(text.split()[0]) for text in told(before)] == list(range(1, 1 + len(before)))
    stream.close()
