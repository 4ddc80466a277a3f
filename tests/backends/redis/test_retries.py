"""Refused subscriptions are asked for again some at a time and ever less often; places cost what has changed."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.backends.redis.keys import Keys
from sse_bridge.backends.redis.link import PubSubLink
from sse_bridge.backends.redis.placement import Placement
from sse_bridge.backends.redis.retries import AT_ONCE, BETWEEN, LONGEST_PAUSE, SHORTEST_PAUSE, Retries
from sse_bridge.backends.redis.routes import Routes
from sse_bridge.backends.redis.urls import Address, parse
from tests.backends.sides import Recorder

KEYS = Keys("p", 0)
REFUSAL = b"-NOPERM this user has no permissions to access one of the channels\r\n"


def confirmation(channel: str) -> bytes:
    name = KEYS.of(channel)[0]
    return b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(name), name)


def asked(sent: bytes) -> int:
    return sent.count(b"SUBSCRIBE")


def test_each_channel_waits_longer_until_it_is_confirmed() -> None:
    retries = Retries()
    now, pauses = 100.0, []
    for _ in range(8):
        assert retries.refused(["a"], now) == (["a"] if not pauses else [])
        pauses.append(retries.due_at - now)
        assert retries.take(retries.due_at - 0.001) == []
        now = retries.due_at
        assert retries.take(now) == ["a"]
    assert pauses[0] == SHORTEST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    retries.settled("a")
    assert retries.refused(["a"], now) == ["a"]
    assert retries.due_at == now + SHORTEST_PAUSE


@given(st.lists(st.tuples(st.sampled_from(["refused", "settled", "begin", "wait"]), st.integers(0, 5)), max_size=60))
def test_what_is_refused_is_asked_again_once_per_refusal(steps: list[tuple[str, int]]) -> None:
    retries, now = Retries(), 0.0
    waiting: list[str] = []
    for step, number in steps:
        channel = f"c{number}"
        if step == "refused" and channel not in waiting:
            retries.refused([channel], now)
            waiting.append(channel)
        elif step == "settled" and channel not in waiting:
            retries.settled(channel)
        elif step == "begin":
            retries.begin()
            waiting.clear()
        elif step == "wait" and waiting:
            assert retries.due_at <= now + LONGEST_PAUSE
            now = max(now, retries.due_at)
            for taken in retries.take(now):
                waiting.remove(taken)
        assert (retries.due_at < float("inf")) == bool(waiting)


def test_thousands_that_are_refused_at_once_are_asked_for_some_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    count = 20_000
    sink = Recorder()
    link = PubSubLink(KEYS, sink, False, 1000.0)
    channels = [f"c{number}" for number in range(count)]
    link.subscribe(channels)
    now = 0.0
    assert asked(link.opened(now)) == count
    with caplog.at_level(logging.WARNING):
        for round_ in range(3):
            for _ in range(0, count, 1000):
                link.received(REFUSAL * 1000, now)
            sent, turns = 0, 0
            while sent < count:
                now = link.tick_at()
                part = asked(link.tick(now))
                assert 0 < part <= AT_ONCE
                sent, turns = sent + part, turns + 1
            assert turns == -(-count // AT_ONCE), round_
            assert now > (turns - 1) * BETWEEN
    assert len([kind for kind, _ in sink.told if kind == "lost"]) == 3 * count
    assert len(caplog.records) == count // 1000, "a line for what one read brought, and none for what is known"
    link.received(b"".join(map(confirmation, channels)), now)
    assert link.tick(now + 400) == b""
    assert link.retry_at == float("inf")


def test_who_is_not_wanted_any_more_is_not_asked_for() -> None:
    link = PubSubLink(KEYS, Recorder(), False, 1000.0)
    link.subscribe(["a", "b"])
    link.opened(0.0)
    link.received(REFUSAL * 2, 0.0)
    link.unsubscribe(["a"])
    assert link.tick(SHORTEST_PAUSE).count(b"SUBSCRIBE") == 1


class CountingRoutes(Routes):
    """How often it is asked where a channel is."""

    looks = 0

    def address(self, channel: str) -> Address | None:
        self.looks += 1
        return super().address(channel)


def placed(count: int, slots: Any) -> tuple[CountingRoutes, Placement]:
    routes = CountingRoutes(parse("redis+cluster://seed:9"))
    assert routes.learned(slots, ("seed", 9))
    places = Placement(routes)
    places.want([f"c{number}" for number in range(count)])
    places.orders()
    routes.looks = 0
    return routes, places


WHOLE = [[0, 8191, [b"a", 1]], [8192, 16383, [b"b", 2]]]


def test_a_new_channel_looks_at_no_other_place() -> None:
    routes, places = placed(5000, WHOLE)
    for number in range(100):
        places.want([f"new{number}"])
        assert not places.needs_routes
        assert len(places.arrivals()) == 1
        assert places.used() == {("a", 1), ("b", 2)}
    assert routes.looks <= 300
    places.drop([f"new{number}" for number in range(100)])
    assert routes.looks <= 300


def test_channels_without_a_server_are_not_looked_for_at_each_other_one() -> None:
    routes, places = placed(5000, [WHOLE[0]])
    assert places.needs_routes, "half of them have no owner"
    for number in range(100):
        places.want([f"new{number}"])
        places.arrivals()
        assert places.needs_routes
    assert routes.looks <= 300
    routes.learned(WHOLE, ("seed", 9))
    orders = places.orders()
    assert not places.needs_routes
    assert {address for address, _, _ in orders} == {("b", 2)}
    assert sum([len(channels) for _, _, channels in orders]) > 2000


def test_a_slot_that_moves_costs_its_own_channels() -> None:
    routes, places = placed(5000, WHOLE)
    routes.learned([[0, 8190, [b"a", 1]], [8191, 16383, [b"b", 2]]], ("seed", 9))
    places.unreachable()
    orders = places.orders()
    moved = [channels for _, subscribe, channels in orders if subscribe]
    assert sum(map(len, moved)) < 10
    assert routes.looks < 50
    assert not places.needs_routes


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["want", "drop", "dropped_by_server", "learn", "lose", "orders", "arrivals"]),
            st.integers(0, 9),
        ),
        max_size=40,
    )
)
def test_places_are_those_of_the_routes(steps: list[tuple[str, int]]) -> None:
    routes, places = placed(0, WHOLE)
    wanted: set[str] = set()
    at: dict[str, Address] = {}
    for step, number in steps:
        channel = f"c{number}"
        orders = []
        if step == "want":
            wanted.add(channel)
            places.want([channel])
        elif step == "drop":
            wanted.discard(channel)
            orders = places.drop([channel])
        elif step == "dropped_by_server":
            orders = places.dropped_by_server([channel])
        elif step == "learn":
            cut = 1600 * number
            routes.learned([[0, cut, [b"a", 1]], [cut + 1, 16383, [b"b", 2]]], ("seed", 9))
        elif step == "lose":
            routes.forget(("a", 1))
        else:
            orders = getattr(places, step)()
        for address, subscribe, channels in orders:
            for name in channels:
                if subscribe:
                    assert at.setdefault(name, address) == address
                else:
                    assert at.pop(name) == address
        assert places.used() == set(at.values())
        assert set(at) <= wanted
    routes.learned(WHOLE, ("seed", 9))
    for address, subscribe, channels in places.orders():
        for name in channels:
            at[name] = address if subscribe else at[name]
            if not subscribe:
                del at[name]
    assert at == {name: routes.address(name) for name in wanted}
    assert not places.needs_routes
