"""Which channels are read next: by server, with a pause for each that failed."""

from __future__ import annotations

from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from sse_bridge.hub.schedule import PAUSE_SECONDS, READS_AT_ONCE, RETRIES_PER_SECOND, TRIPS_AT_ONCE, ReadQueue


def test_a_channel_that_fails_waits_alone() -> None:
    queue = ReadQueue()
    queue.want("bad")
    queue.want("good")
    assert queue.trip(0, str) == ["bad", "good"]
    assert queue.failed("bad", 0)
    queue.ended("good")
    for n in range(100):
        queue.want("good")
        queue.want("bad")
        assert queue.trip(n / 1e6, str) == ["good"]
        queue.ended("good")
    when = queue.next_at()
    assert when is not None
    assert 0 < when <= PAUSE_SECONDS[0]
    assert queue.trip(when, str) == ["bad"]
    assert not queue.failed("bad", when), "only the first failure is news"
    queue.want("bad", now=True)
    assert queue.has_due, "the server answers again"


def test_a_server_that_does_not_answer_holds_up_its_own() -> None:
    servers = {f"{server}:{n}": server for server in ("dead", "well") for n in range(200)}
    queue = ReadQueue(servers.get)
    for channel in servers:
        queue.want(channel)
    under_way: Counter[str] = Counter()
    while trip := queue.trip(0, str):
        assert len({servers[channel] for channel in trip}) == 1
        under_way[servers[trip[0]]] += len(trip)
        if servers[trip[0]] == "well":
            for channel in trip:
                queue.ended(channel)
    assert under_way == {"dead": TRIPS_AT_ONCE * READS_AT_ONCE, "well": 200}
    assert not queue.has_due
    queue.want("well:1")
    assert queue.trip(0, str) == ["well:1"]


def test_what_comes_while_all_trips_are_under_way_shares_the_next() -> None:
    queue = ReadQueue()
    trips = []
    for n in range(20):
        queue.want(f"c{n}")
        trips.append(queue.trip(0, str))
    assert [len(trip) for trip in trips] == [1] * TRIPS_AT_ONCE + [0] * (20 - TRIPS_AT_ONCE)
    assert not queue.has_due
    queue.ended("c0")
    queue.ended("c0")
    assert len(queue.trip(0, str)) == READS_AT_ONCE
    assert queue.trip(0, str) == []


def test_channels_of_no_known_server_move_when_it_is_known() -> None:
    servers: dict[str, str] = {}
    queue = ReadQueue(servers.get)
    for n in range(3):
        queue.want(f"c{n}")
    servers.update({"c0": "one", "c2": "two"})
    trips = [queue.trip(0, str) for _ in range(4)]
    assert sorted(trips) == [[], ["c0"], ["c1"], ["c2"]]


def test_very_many_that_fail_are_retried_at_a_bounded_rate() -> None:
    queue = ReadQueue()
    count, now, retries = 20 * RETRIES_PER_SECOND, 0.0, 0
    for n in range(count):
        queue.want(f"c{n}")
    while now < 200:
        trip = queue.trip(now, str)
        for channel in trip:
            queue.failed(channel, now)
        retries += len(trip) if now > 100 else 0
        when = queue.next_at()
        assert when is not None
        now = max(now, when)
    assert retries < 2 * 100 * RETRIES_PER_SECOND


class Model:
    """What must come of any order of calls."""

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.under_way: list[str] = []


@example([("want", 0), ("trip", 0), ("want", 0), ("trip", 0), ("bad", 0), ("good", 0)])
@given(st.lists(st.tuples(st.sampled_from(["want", "now", "trip", "good", "bad", "forget"]), st.integers(0, 5))))
def test_nothing_that_is_wanted_is_forgotten(steps: list[tuple[str, int]]) -> None:
    queue, model, now = ReadQueue(lambda channel: channel[0]), Model(), 0.0
    for step, n in steps:
        now += n / 40
        channel = f"{n % 2}:{n}"
        if step == "want":
            queue.want(channel)
            model.wanted.add(channel)
        elif step == "now":
            queue.want(channel, now=True)
            model.wanted.add(channel)
        elif step == "trip":
            trip = queue.trip(now, lambda each: None if each in model.under_way else each)
            assert len(trip) == len(set(trip)) <= READS_AT_ONCE
            model.wanted -= set(trip)
            model.under_way += trip
        elif step == "forget":
            queue.ended(channel)
            model.wanted.discard(channel)
            model.under_way = [each for each in model.under_way if each != channel]
        elif model.under_way:
            channel = model.under_way.pop(0)
            model.wanted.add(channel)  # it may have been wanted meanwhile
            if step == "good":
                queue.ended(channel)
                queue.want(channel)
            else:
                queue.failed(channel, now)
    for channel in model.under_way:
        queue.ended(channel)
        queue.want(channel)
    for _ in range(100):
        when = queue.next_at()
        if when is None:
            break
        now = max(now, when)
        model.wanted -= set(queue.trip(now, str))
    assert not model.wanted
