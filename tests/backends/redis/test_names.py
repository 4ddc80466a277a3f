"""Keys, slots, routes and places: everything that decides where something goes, without a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.backends.redis.keys import PROBE, Keys
from sse_bridge.backends.redis.placement import Placement
from sse_bridge.backends.redis.routes import Routes, redirection, slot_of
from sse_bridge.backends.redis.scripts import error_code
from sse_bridge.backends.redis.urls import parse
from sse_bridge.events import NAME_RULE

CHANNEL = st.from_regex(NAME_RULE, fullmatch=True)
PREFIX = st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True)
PLACE = st.tuples(PREFIX, st.integers(0, 99), CHANNEL)


@given(PLACE, PLACE, st.text(), st.text())
def test_no_two_names_meet(one: tuple[str, int, str], other: tuple[str, int, str], key: str, other_key: str) -> None:
    (prefix, database, channel), (prefix2, database2, channel2) = one, other
    keys, keys2 = Keys(prefix, database), Keys(prefix2, database2)
    names = [*keys.of(channel), keys.idempotency(channel, key), keys.retention]
    names2 = [*keys2.of(channel2), keys2.idempotency(channel2, other_key), keys2.retention]
    assert len(set(names)) == 4
    shared = set(names) & set(names2)
    if one != other:
        assert shared <= {keys.retention}
    if prefix != prefix2:
        assert not shared
    assert (keys.of(channel) == keys2.of(channel2)) == (one == other)
    if key != other_key:
        assert keys.idempotency(channel, key) != keys.idempotency(channel, other_key)


@given(PLACE)
def test_keys_lie_in_the_slot_of_the_channel(place: tuple[str, int, str]) -> None:
    prefix, database, channel = place
    for name in (*Keys(prefix, database).of(channel), Keys(prefix, database).idempotency(channel, "k")):
        tag = name[name.index(b"{") + 1 : name.index(b"}")]
        assert slot_of(tag.decode()) == slot_of(channel)


def test_known_slots() -> None:
    # from the Redis Cluster specification and CLUSTER KEYSLOT
    assert slot_of("123456789") == 0x31C3
    assert slot_of("foo") == 12182


def test_the_probe_is_no_channel_of_a_caller() -> None:
    import re

    assert not re.fullmatch(NAME_RULE, PROBE)


SLOTS = [[0, 8191, [b"a", 1, b"id"], [b"r", 2, b"id"]], [8192, 16382, [b"", 3, b"id"]]]


def cluster() -> Routes:
    return Routes(parse("redis+cluster://seed:9"))


def test_a_cluster_is_learned_and_forgotten() -> None:
    routes = cluster()
    assert routes.address("foo") is None
    assert routes.candidates == (("seed", 9),)
    assert not routes.learned([], ("seed", 9))
    assert not routes.learned(None, ("seed", 9))
    assert routes.learned(SLOTS, ("seed", 9))
    assert routes.primaries() == {("a", 1), ("seed", 3)}
    assert routes.address("foo") == ("seed", 3)  # 12182, and an empty host is the one that was asked
    assert routes.address("123456789") == ("seed", 3)
    assert {routes.address(f"c{number}") for number in range(100)} == {("a", 1), ("seed", 3)}
    routes.forget(("seed", 3))
    assert routes.address("foo") is None
    assert {routes.address(f"c{number}") for number in range(100)} == {("a", 1), None}
    assert routes.candidates == (("seed", 9), ("a", 1), ("seed", 3)), "whoever failed is asked last"
    assert not routes.recall()


def test_a_node_that_is_in_no_answer_any_more_is_not_asked() -> None:
    routes = cluster()
    assert routes.learned(SLOTS, ("seed", 9))
    routes.doubt(("seed", 9))
    assert routes.learned([[0, 16383, [b"b", 4, b"id"]]], ("a", 1))
    assert routes.candidates == (("seed", 9), ("b", 4))


def test_sentinels_are_asked_again_after_a_loss() -> None:
    routes = Routes(parse("redis+sentinel://s1,s2/main"))
    assert routes.question == ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
    assert not routes.learned(None, ("s1", 26379))
    assert routes.learned([b"p", b"6380"], ("s1", 26379))
    assert routes.address("any") == ("p", 6380)
    routes.forget(("q", 1))
    assert routes.address("any") == ("p", 6380), "another server failed"
    routes.forget(("p", 6380))
    assert routes.address("any") is None
    assert routes.candidates == (("s2", 26379), ("s1", 26379)), "the one that named it is asked last"
    assert routes.recall()
    assert routes.address("any") == ("p", 6380), "with no Sentinel to ask the known primary is tried again"


def test_nobody_is_recalled_that_never_was_named() -> None:
    assert not Routes(parse("redis+sentinel://s1,s2/main")).recall()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("MOVED 1 b:2", ("b", 2)),
        ("ASK 1 :2", ("a", 2)),
        ("MOVED 1 ::1:2", ("::1", 2)),
        ("MOVED", None),
        ("MOVED 1 b", None),
    ],
)
def test_redirections(text: str, address: tuple[str, int] | None) -> None:
    assert redirection(text, ("a", 1)) == address


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("WRONGTYPE Operation against a key", "WRONGTYPE"),
        ("WRONGTYPE Operation script: abc, on @user_script:5.", "WRONGTYPE"),
        ("ERR Error running script (call to f_1): @user_script:5: WRONGTYPE Operation", "WRONGTYPE"),
        ("ERR unknown", "ERR"),
    ],
)
def test_error_codes(text: str, code: str) -> None:
    assert error_code(text) == code


class TestPlacement:
    def test_channels_go_where_their_slot_is(self) -> None:
        routes = cluster()
        places = Placement(routes)
        places.want(["foo"])
        assert places.needs_routes
        assert places.orders() == []
        routes.learned(SLOTS, ("seed", 9))
        assert not places.needs_routes
        assert places.orders() == [(("seed", 3), True, ("foo",))]
        places.want(["foo"])
        assert places.orders() == []
        assert places.used() == {("seed", 3)}
        assert places.drop(["foo", "unknown"]) == [(("seed", 3), False, ("foo",))]
        assert places.used() == set()

    def test_a_stray_is_placed_again(self) -> None:
        routes = cluster()
        routes.learned(SLOTS, ("seed", 9))
        places = Placement(routes)
        places.want(["foo"])
        places.orders()
        assert places.dropped_by_server(["foo", "dropped"]) == [(("seed", 3), False, ("foo",))]
        assert places.needs_routes
        routes.learned([[0, 16383, [b"new", 4, b"id"]]], ("seed", 9))
        assert places.orders() == [(("new", 4), True, ("foo",))]
        assert not places.needs_routes

    def test_channels_follow_when_an_owner_changed(self) -> None:
        routes = cluster()
        routes.learned(SLOTS, ("seed", 9))
        places = Placement(routes)
        places.want(["foo"])
        places.orders()
        places.unreachable()
        assert places.needs_routes
        routes.learned([[0, 16383, [b"new", 4, b"id"]]], ("seed", 9))
        assert places.orders() == [(("seed", 3), False, ("foo",)), (("new", 4), True, ("foo",))]

    def test_a_slot_without_an_owner_waits(self) -> None:
        routes = cluster()
        routes.learned([[0, 1, [b"a", 1, b"id"]]], ("seed", 9))
        places = Placement(routes)
        places.want(["foo"])
        assert places.orders() == []
        assert places.needs_routes
