"""Who may stay, decided without a broker: revocations in any order, links that come and go, leases that are owed."""

from __future__ import annotations

from typing import Any

from sse_bridge.admission.admissions import APART_SECONDS, Admissions, Ends, target_of
from sse_bridge.admission.contract import (
    Beat,
    ListRevocations,
    Revoke,
    TakeLease,
    replaced_message,
    revoked_message,
)


class Stream:
    def end_by(self, when: float, why: str = "drain") -> None:
        raise AssertionError("admissions say who is to end, and end nobody")


def new_admissions(**options: Any) -> Admissions:
    return Admissions(**{"supported": True, "limit": 0, "replace": True, "lease_seconds": 60.0, **options})


def joined(admissions: Admissions, key: str, user: str | None, *channels: str) -> Stream:
    stream = Stream()
    admissions.join(key, user, channels or ("a",), stream)
    return stream


def ended(ends: Ends) -> list[tuple[Any, str]]:
    return [(reference(), why) for reference, why in ends]


def live(admissions: Admissions, now: float = 0.0, **known: float) -> Ends:
    admissions.confirmed()
    assert admissions.next_request(now) == ListRevocations()
    return admissions.done(ListRevocations(), known, now)


def revoke(user: str | None = None, channel: str | None = None, seconds: float = 60.0) -> bytes:
    return revoked_message(Revoke(target_of(user, channel), seconds))


def test_users_wait_until_everything_is_known_and_nobody_in_particular_does_not() -> None:
    admissions = new_admissions()
    kept = [joined(admissions, "ada", "ada"), joined(admissions, "nobody", None)]
    assert not admissions.ready("ada")
    assert admissions.ready("nobody")
    assert admissions.woken() == []
    live(admissions)
    assert admissions.woken() == ["ada"]
    assert admissions.ready("ada")
    assert len(kept) == 2


def test_a_message_ends_exactly_the_streams_it_covers() -> None:
    admissions = new_admissions()
    a, ab, other, nobody = (
        joined(admissions, "1", "ada", "a"), joined(admissions, "2", "ada", "a", "b"), joined(admissions, "3", "bob", "b"),
        joined(admissions, "4", None, "a"),
    )  # fmt: skip
    live(admissions)
    assert ended(admissions.control_message(revoke("ada", "b"), 1)) == [(ab, "revoked")]
    admissions.leave("2")
    assert ended(admissions.control_message(revoke("ada"), 2)) == [(a, "revoked")]
    admissions.leave("1")
    assert ended(admissions.control_message(revoke(channel="b"), 3)) == [(other, "revoked")]
    assert admissions.revoked(None, ("b",), 4)
    assert not admissions.revoked(None, ("a",), 4)
    assert nobody
    admissions.control_message(revoke("ada", seconds=0), 5)
    assert not admissions.revoked("ada", ("a",), 5)
    assert admissions.revoked("ada", ("c", "b"), 5)
    assert not admissions.revoked("bob", ("a",), 100)


def test_a_user_may_have_any_name_and_none_looks_like_another_target() -> None:
    names = ["ada", "c:a", "", "ada:a", "\ud800", "a" * 1000, "u:ada"]
    targets = [target_of(name, channel) for name in names for channel in (None, "a", "a:b")] + [target_of(None, "a")]
    assert len(set(targets)) == len(targets)
    admissions = new_admissions()
    live(admissions)
    for name in names:
        admissions.control_message(revoke(name), 1)
    assert all(admissions.revoked(name, ("a",), 2) for name in names)
    assert not admissions.revoked("bob", ("a",), 2)


def test_what_is_told_while_the_list_is_on_its_way_counts_more() -> None:
    admissions = new_admissions()
    stream = joined(admissions, "1", "ada")
    admissions.confirmed()
    assert admissions.next_request(0) == ListRevocations()
    admissions.control_message(revoke("bob"), 0)  # after the list was read
    admissions.control_message(revoke("eve", seconds=0), 0)
    admissions.done(ListRevocations(), {target_of("eve", None): 50.0, target_of("old", None): 50.0}, 0)
    assert admissions.revoked("bob", ("a",), 1)
    assert admissions.revoked("old", ("a",), 1)
    assert not admissions.revoked("eve", ("a",), 1)
    assert stream


def test_the_list_after_a_lost_link_ends_what_was_revoked_meanwhile() -> None:
    admissions = new_admissions()
    stream = joined(admissions, "1", "ada")
    live(admissions)
    admissions.lost(10)
    assert ended(live(admissions, 12, **{target_of("ada", None): 30.0})) == [(stream, "revoked")]
    assert admissions.refuses("1", 12)


def test_apart_for_ten_seconds_ends_the_streams_of_users_and_lets_none_in() -> None:
    admissions = new_admissions()
    stream, nobody = joined(admissions, "1", "ada"), joined(admissions, "2", None)
    live(admissions)
    admissions.lost(10)
    admissions.lost(15)  # the second try to connect failed too: it is apart since the first
    assert ended(admissions.tick(10 + APART_SECONDS - 0.1)) == []
    assert ended(admissions.tick(10 + APART_SECONDS)) == [(stream, "unavailable")]
    late = joined(admissions, "3", "bob")
    assert not admissions.ready("3")
    assert not admissions.revoked("ada", ("a",), 20)  # nobody knows
    live(admissions, 30)
    assert ended(admissions.tick(31)) == []
    assert admissions.woken() == ["3"]
    assert late
    assert nobody


def test_a_failed_list_is_tried_again_later_and_where_nothing_can_be_revoked_nobody_waits() -> None:
    admissions = new_admissions()
    joined(admissions, "1", "ada")
    admissions.confirmed()
    request = admissions.next_request(0)
    assert request is not None
    admissions.failed(request, 0, for_good=False)
    assert admissions.next_request(0.05) is None
    assert admissions.next_request(0.2) == ListRevocations()
    admissions.failed(request, 0.2, for_good=True)
    assert admissions.next_request(100) is None
    assert admissions.ready("1")


def test_foreign_messages_change_nothing() -> None:
    admissions = new_admissions()
    joined(admissions, "1", "ada")
    live(admissions)
    for message in (b"", b"revoked", b"revoked x u:1", b"revoked -5 u:1", b"revoked " + b"9" * 400 + b" u:1", b"\xff\0\n",
                    "revoked ²  u:1".encode()):  # fmt: skip
        assert admissions.control_message(message, 1) is None
    assert admissions.control_message(b"replaced nobody", 1) == []


def test_leases_are_asked_for_kept_alive_replaced_and_given_back() -> None:
    admissions = new_admissions(limit=2)
    streams = [joined(admissions, key, "ada") for key in ("1", "2")] + [joined(admissions, "3", None)]
    live(admissions)
    first, second = admissions.lease_request("1"), admissions.lease_request("2")
    assert first is not None
    assert second is not None
    assert first.lease != second.lease
    assert first.owner == second.owner == first.lease.partition(".")[0]
    assert admissions.lease_request("3") is None  # of nobody: it counts for the process only
    admissions.took("1", True)
    admissions.took("2", False)
    assert admissions.leave("2") is False  # it got none
    assert admissions.next_request(0) == Beat(first.owner)
    admissions.done(Beat(first.owner), True, 0)
    assert admissions.next_request(1) is None
    assert admissions.next_request(5) == Beat(first.owner)
    admissions.done(Beat(first.owner), True, 5)
    assert ended(admissions.control_message(replaced_message(first.lease), 6)) == [(streams[0], "replaced")]
    assert admissions.control_message(replaced_message(first.lease), 6) == []
    assert admissions.leave("1") is False  # the newer stream has it


def test_a_stream_that_is_cancelled_while_it_asks_gives_back_what_it_may_have_got() -> None:
    admissions = new_admissions(limit=1)
    stream = joined(admissions, "1", "ada")
    live(admissions)
    request = admissions.lease_request("1")
    assert request is not None
    assert admissions.leave("1") is True
    beat = admissions.next_request(0)
    assert beat == Beat(request.owner, ((request.user, request.lease),))
    assert isinstance(beat, Beat)
    admissions.failed(beat, 0, for_good=False)
    assert not admissions.busy  # a hub without readers does not wait for a broker that is away: it expires
    assert admissions.next_request(10) == beat
    admissions.done(beat, False, 10)
    assert admissions.next_request(20) is None
    assert stream


def test_a_lease_that_is_refused_holds_up_no_other() -> None:
    """A key of another type in the place of one user's leases: the others' are restored, and signs of life go on."""
    admissions = new_admissions(limit=2)
    streams = [joined(admissions, name, name) for name in ("ada", "bob", "cyd")]
    live(admissions)
    requests = {name: admissions.lease_request(name) for name in ("ada", "bob", "cyd")}
    for name in requests:
        admissions.took(name, True)
    assert isinstance(admissions.next_request(0), Beat)
    admissions.done(Beat(requests["ada"].owner), False, 0)  # type: ignore[union-attr]
    restored = []
    while isinstance(request := admissions.next_request(0), TakeLease):
        restored.append(request.user)
        if request.user == requests["cyd"].user:  # type: ignore[union-attr]
            admissions.failed(request, 0, for_good=False, refused=True)
        else:
            admissions.done(request, True, 0)
    assert len(restored) == 3
    assert admissions.leave("ada")
    assert isinstance(admissions.next_request(0), Beat)
    assert streams


def test_an_owner_that_was_taken_for_dead_takes_its_leases_again() -> None:
    admissions = new_admissions(limit=1)
    stream = joined(admissions, "1", "ada")
    live(admissions)
    request = admissions.lease_request("1")
    assert request is not None
    admissions.took("1", True)
    beat = admissions.next_request(0)
    assert isinstance(beat, Beat)
    admissions.done(beat, False, 0)
    again = admissions.next_request(0.1)
    assert again == TakeLease(request.user, request.owner, request.lease, 0, False, request.seconds)
    assert stream


def test_leases_are_taken_again_in_their_order() -> None:
    """Over the limit the oldest gives way, before and after."""
    admissions = new_admissions(limit=3)
    streams = [joined(admissions, name, "ada") for name in "123"]
    live(admissions)
    leases = [request.lease for name in "123" if (request := admissions.lease_request(name))]
    beat = admissions.next_request(0)
    assert isinstance(beat, Beat)
    admissions.done(beat, False, 0)
    again = []
    for failures in (0, 1, 0):
        for _ in range(failures):
            request = admissions.next_request(0)
            assert isinstance(request, TakeLease)
            admissions.failed(request, -10, for_good=False)
        request = admissions.next_request(0)
        assert isinstance(request, TakeLease)
        admissions.done(request, True, 0)
        again.append(request.lease)
    assert again == leases
    assert streams


def test_one_connection_hands_its_lease_on() -> None:
    admissions = new_admissions(limit=1)
    session = joined(admissions, "old", "ada")
    live(admissions)
    request = admissions.lease_request("old")
    assert request is not None
    admissions.took("old", True)
    admissions.join("new", "ada", ("a", "b"), session, "old")
    assert admissions.lease_request("new") is None
    assert admissions.leave("old") is False
    assert ended(admissions.control_message(replaced_message(request.lease), 1)) == [(session, "replaced")]


def test_a_source_follows_no_channel_and_is_its_users_all_the_same() -> None:
    admissions = new_admissions(limit=1)
    assert not admissions.busy
    stream = Stream()
    admissions.join("source", "ada", (), stream)
    reader = joined(admissions, "reader", "ada")
    assert admissions.source_members() == ["source"]
    assert admissions.busy, "it needs the link, though it has no reader that would keep it"
    live(admissions)
    leases = [admissions.lease_request(key) for key in ("reader", "source")]
    assert all(lease is not None for lease in leases)
    assert [lease.seconds for lease in leases if lease] == [60.0, 86_400.0]  # a source has no lifetime
    assert ended(admissions.control_message(revoke(channel="a"), 1)) == [(reader, "revoked")]
    admissions.leave("reader")
    assert ended(admissions.control_message(revoke(user="ada", channel="a"), 1)) == []
    assert ended(admissions.control_message(revoke(user="ada"), 2)) == [(stream, "revoked")]
    admissions.lost(10)
    assert admissions.tick(10 + APART_SECONDS - 1) == []
    assert ended(admissions.tick(10 + APART_SECONDS)) == [(stream, "unavailable")]
    admissions.leave("source")
    assert admissions.source_members() == []
