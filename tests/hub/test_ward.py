"""Who may stay, decided without a broker: revocations in any order, links that come and go, leases that are owed."""

from __future__ import annotations

from typing import Any

from sse_bridge.backends.admission import (
    Beat,
    ListRevocations,
    Revoke,
    TakeLease,
    replaced_message,
    revoked_message,
    target_of,
)
from sse_bridge.hub.ward import APART_SECONDS, Ends, Ward


class Stream:
    def end_by(self, when: float, why: str = "drain") -> None:
        raise AssertionError("a ward returns who is to end, and ends nobody")


def new_ward(**options: Any) -> Ward:
    return Ward(**{"supported": True, "limit": 0, "replace": True, "lease_seconds": 60.0, **options})


def joined(ward: Ward, key: str, user: str | None, *channels: str) -> Stream:
    stream = Stream()
    ward.join(key, user, channels or ("a",), stream)
    return stream


def ended(ends: Ends) -> list[tuple[Any, str]]:
    return [(reference(), why) for reference, why in ends]


def live(ward: Ward, now: float = 0.0, **known: float) -> Ends:
    ward.confirmed()
    assert ward.due(now) == ListRevocations()
    return ward.done(ListRevocations(), known, now)


def revoke(user: str | None = None, channel: str | None = None, seconds: float = 60.0) -> bytes:
    return revoked_message(Revoke(target_of(user, channel), seconds))


def test_users_wait_until_everything_is_known_and_nobody_in_particular_does_not() -> None:
    ward = new_ward()
    kept = [joined(ward, "ada", "ada"), joined(ward, "nobody", None)]
    assert not ward.ready("ada")
    assert ward.ready("nobody")
    assert ward.woken() == []
    live(ward)
    assert ward.woken() == ["ada"]
    assert ward.ready("ada")
    assert len(kept) == 2


def test_a_message_ends_exactly_the_streams_it_covers() -> None:
    ward = new_ward()
    a, ab, other, nobody = (
        joined(ward, "1", "ada", "a"), joined(ward, "2", "ada", "a", "b"), joined(ward, "3", "bob", "b"),
        joined(ward, "4", None, "a"),
    )  # fmt: skip
    live(ward)
    assert ended(ward.told(revoke("ada", "b"), 1)) == [(ab, "revoked")]
    ward.leave("2")
    assert ended(ward.told(revoke("ada"), 2)) == [(a, "revoked")]
    ward.leave("1")
    assert ended(ward.told(revoke(channel="b"), 3)) == [(other, "revoked")]
    assert ward.revoked(None, ("b",), 4)
    assert not ward.revoked(None, ("a",), 4)
    assert nobody
    ward.told(revoke("ada", seconds=0), 5)
    assert not ward.revoked("ada", ("a",), 5)
    assert ward.revoked("ada", ("c", "b"), 5)
    assert not ward.revoked("bob", ("a",), 100)


def test_a_user_may_have_any_name_and_none_looks_like_another_target() -> None:
    names = ["ada", "c:a", "", "ada:a", "\ud800", "a" * 1000, "u:ada"]
    targets = [target_of(name, channel) for name in names for channel in (None, "a", "a:b")] + [target_of(None, "a")]
    assert len(set(targets)) == len(targets)
    ward = new_ward()
    live(ward)
    for name in names:
        ward.told(revoke(name), 1)
    assert all(ward.revoked(name, ("a",), 2) for name in names)
    assert not ward.revoked("bob", ("a",), 2)


def test_what_is_told_while_the_list_is_on_its_way_counts_more() -> None:
    ward = new_ward()
    stream = joined(ward, "1", "ada")
    ward.confirmed()
    assert ward.due(0) == ListRevocations()
    ward.told(revoke("bob"), 0)  # after the list was read
    ward.told(revoke("eve", seconds=0), 0)
    ward.done(ListRevocations(), {target_of("eve", None): 50.0, target_of("old", None): 50.0}, 0)
    assert ward.revoked("bob", ("a",), 1)
    assert ward.revoked("old", ("a",), 1)
    assert not ward.revoked("eve", ("a",), 1)
    assert stream


def test_the_list_after_a_lost_link_ends_what_was_revoked_meanwhile() -> None:
    ward = new_ward()
    stream = joined(ward, "1", "ada")
    live(ward)
    ward.lost(10)
    assert ended(live(ward, 12, **{target_of("ada", None): 30.0})) == [(stream, "revoked")]
    assert ward.refuses("1", 12)


def test_apart_for_ten_seconds_ends_the_streams_of_users_and_lets_none_in() -> None:
    ward = new_ward()
    stream, nobody = joined(ward, "1", "ada"), joined(ward, "2", None)
    live(ward)
    ward.lost(10)
    ward.lost(15)  # the second try to connect failed too: it is apart since the first
    assert ended(ward.tick(10 + APART_SECONDS - 0.1)) == []
    assert ended(ward.tick(10 + APART_SECONDS)) == [(stream, "unavailable")]
    late = joined(ward, "3", "bob")
    assert not ward.ready("3")
    assert not ward.revoked("ada", ("a",), 20)  # nobody knows
    live(ward, 30)
    assert ended(ward.tick(31)) == []
    assert ward.woken() == ["3"]
    assert late
    assert nobody


def test_a_failed_list_is_tried_again_later_and_where_nothing_can_be_revoked_nobody_waits() -> None:
    ward = new_ward()
    joined(ward, "1", "ada")
    ward.confirmed()
    request = ward.due(0)
    assert request is not None
    ward.failed(request, 0, for_good=False)
    assert ward.due(0.05) is None
    assert ward.due(0.2) == ListRevocations()
    ward.failed(request, 0.2, for_good=True)
    assert ward.due(100) is None
    assert ward.ready("1")


def test_foreign_messages_change_nothing() -> None:
    ward = new_ward()
    joined(ward, "1", "ada")
    live(ward)
    for message in (b"", b"revoked", b"revoked x u:1", b"revoked -5 u:1", b"revoked " + b"9" * 400 + b" u:1", b"\xff\0\n",
                    "revoked ²  u:1".encode()):  # fmt: skip
        assert ward.told(message, 1) is None
    assert ward.told(b"replaced nobody", 1) == []


def test_leases_are_asked_for_kept_alive_replaced_and_given_back() -> None:
    ward = new_ward(limit=2)
    streams = [joined(ward, key, "ada") for key in ("1", "2")] + [joined(ward, "3", None)]
    live(ward)
    first, second = ward.lease_request("1"), ward.lease_request("2")
    assert first is not None
    assert second is not None
    assert first.lease != second.lease
    assert first.owner == second.owner == first.lease.partition(".")[0]
    assert ward.lease_request("3") is None  # of nobody: it counts for the process only
    ward.took("1", True)
    ward.took("2", False)
    assert ward.leave("2") is False  # it got none
    assert ward.due(0) == Beat(first.owner)
    ward.done(Beat(first.owner), True, 0)
    assert ward.due(1) is None
    assert ward.due(5) == Beat(first.owner)
    ward.done(Beat(first.owner), True, 5)
    assert ended(ward.told(replaced_message(first.lease), 6)) == [(streams[0], "replaced")]
    assert ward.told(replaced_message(first.lease), 6) == []
    assert ward.leave("1") is False  # the newer stream has it


def test_a_stream_that_is_cancelled_while_it_asks_gives_back_what_it_may_have_got() -> None:
    ward = new_ward(limit=1)
    stream = joined(ward, "1", "ada")
    live(ward)
    request = ward.lease_request("1")
    assert request is not None
    assert ward.leave("1") is True
    beat = ward.due(0)
    assert beat == Beat(request.owner, ((request.user, request.lease),))
    assert isinstance(beat, Beat)
    ward.failed(beat, 0, for_good=False)
    assert not ward.busy  # a hub without readers does not wait for a broker that is away: it expires
    assert ward.due(10) == beat
    ward.done(beat, False, 10)
    assert ward.due(20) is None
    assert stream


def test_an_owner_that_was_taken_for_dead_takes_its_leases_again() -> None:
    ward = new_ward(limit=1)
    stream = joined(ward, "1", "ada")
    live(ward)
    request = ward.lease_request("1")
    assert request is not None
    ward.took("1", True)
    beat = ward.due(0)
    assert isinstance(beat, Beat)
    ward.done(beat, False, 0)
    again = ward.due(0.1)
    assert again == TakeLease(request.user, request.owner, request.lease, 0, False, request.seconds)
    assert stream


def test_one_connection_hands_its_lease_on() -> None:
    ward = new_ward(limit=1)
    session = joined(ward, "old", "ada")
    live(ward)
    request = ward.lease_request("old")
    assert request is not None
    ward.took("old", True)
    ward.join("new", "ada", ("a", "b"), session, "old")
    assert ward.lease_request("new") is None
    assert ward.leave("old") is False
    assert ended(ward.told(replaced_message(request.lease), 1)) == [(session, "replaced")]


def test_a_guest_follows_no_channel_and_is_its_users_all_the_same() -> None:
    ward = new_ward(limit=1)
    assert not ward.busy
    stream = Stream()
    ward.join("guest", "ada", (), stream)
    reader = joined(ward, "reader", "ada")
    assert ward.guests() == ["guest"]
    assert ward.busy, "it needs the link, though it has no reader that would keep it"
    live(ward)
    leases = [ward.lease_request(key) for key in ("reader", "guest")]
    assert all(lease is not None for lease in leases)
    assert [lease.seconds for lease in leases if lease] == [60.0, 86_400.0]  # a source has no lifetime
    assert ended(ward.told(revoke(channel="a"), 1)) == [(reader, "revoked")]
    ward.leave("reader")
    assert ended(ward.told(revoke(user="ada", channel="a"), 1)) == []
    assert ended(ward.told(revoke(user="ada"), 2)) == [(stream, "revoked")]
    ward.lost(10)
    assert ward.tick(10 + APART_SECONDS - 1) == []
    assert ended(ward.tick(10 + APART_SECONDS)) == [(stream, "unavailable")]
    ward.leave("guest")
    assert ward.guests() == []
