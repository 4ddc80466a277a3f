"""The spool's decisions, with brokers made up by hypothesis."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.backends.base import Append, Appended
from sse_bridge.config import Settings
from sse_bridge.errors import BackendError, BackendUnavailable, ChannelClosed, ForeignRecord, PublishUncertain
from sse_bridge.publishing.letters import DeadLetter, decode_letter, encode_letter
from sse_bridge.publishing.spool import APPENDS_PER_TRIP, Spool
from tests.backends.sides import batch

AWAY = BackendUnavailable("away")
SENT = Appended(b"e", 1, b"c")


def spool(**options: Any) -> Spool:
    return Spool(Settings(on_unavailable="spool", **options))


def flush(spool: Spool, now: float = 1.0) -> list[bytes]:
    """Everything a broker that is back takes, in order."""
    taken: list[bytes] = []
    while (step := spool.step(now, 0)) is not None and not step.wait:
        if step.probe is not None:
            spool.probed(step.probe, None, now)
        for merged in step.appends:
            taken += [entry.data for entry in merged.batch.entries]
            spool.settle(merged, SENT, now, 0)
    return taken


def test_nothing_is_taken_while_nothing_waits() -> None:
    assert not spool().takes(batch("a", b"1"))


def test_what_comes_later_goes_behind_also_when_the_broker_is_back() -> None:
    one = spool()
    assert one.keep(batch("a", b"1"), 0.0, 0, AWAY)
    assert one.takes(batch("a", b"2"))
    one.probed("a", None, 0.0)
    assert one.takes(batch("a", b"2"))
    assert not one.takes(batch("b", b"2"))
    one.keep(batch("a", b"2"), 0.0, 0)
    assert flush(one) == [b"1", b"2"]
    assert not one.takes(batch("a", b"3"))
    assert (one.queued, one.bytes, one.flushed, one.idle) == (0, 0, 2, True)


def test_one_server_that_is_away_is_away_for_all_channels() -> None:
    one = spool()
    one.keep(batch("a", b"1"), 0.0, 0, AWAY)
    assert one.takes(batch("b", b"2"))
    cluster = Spool(Settings(), one_server=False)
    cluster.keep(batch("a", b"1"), 0.0, 0, AWAY)
    assert not cluster.takes(batch("b", b"2"))


def test_nothing_is_sent_to_a_broker_that_does_not_answer_a_read() -> None:
    one = spool()
    one.keep(batch("a", b"1"), 0.0, 0, AWAY)
    step = one.step(0.0, 0)
    assert step is not None
    assert (step.probe, step.appends) == ("a", ())
    one.probed("a", AWAY, 0.0)
    step = one.step(0.0, 0)
    assert step is not None
    assert step.wait > 0


def test_an_event_of_unknown_fate_keeps_its_nonce_and_the_age_of_its_first_attempt() -> None:
    one = spool()
    event = batch("a", b"1")
    one.keep(event, 50.0, 0, PublishUncertain("?", unknown_since=42.0))
    one.keep(batch("a", b"2"), 50.0, 0)
    one.probed("a", None, 50.0)
    step = one.step(50.0, 0)
    assert step is not None
    (merged,) = step.appends
    assert merged.batch.entries == event.entries  # alone: merged with others it could not be recognised
    assert merged.batch.unknown_since == 42.0
    one.settle(merged, AWAY, 60.0, 0)
    one.probed("a", None, 61.0)
    step = one.step(61.0, 0)
    assert step is not None
    assert step.appends[0].batch.unknown_since == 42.0


def test_a_merged_parcel_of_unknown_fate_is_looked_up_one_by_one() -> None:
    one = spool()
    for number in range(3):
        one.keep(batch("a", b"%d" % number), 0.0, 0, AWAY if number == 0 else None)
    one.probed("a", None, 0.0)
    step = one.step(0.0, 0)
    assert step is not None
    assert len(step.appends[0].batch.entries) == 3
    one.settle(step.appends[0], PublishUncertain("?", unknown_since=7.0), 10.0, 0)
    one.probed("a", None, 11.0)
    step = one.step(11.0, 0)
    assert step is not None
    assert [entry.data for entry in step.appends[0].batch.entries] == [b"0"]
    assert step.appends[0].batch.unknown_since == 7.0


def test_what_the_log_can_never_prove_is_raised_or_dead() -> None:
    one = spool()
    assert not one.keep(batch("a", b"1"), 0.0, 0, PublishUncertain("the log does not reach back"))
    one.keep(batch("a", b"2"), 0.0, 0, PublishUncertain("?", unknown_since=1.0))
    one.probed("a", None, 0.0)
    step = one.step(0.0, 0)
    assert step is not None
    one.settle(step.appends[0], PublishUncertain("the log does not reach back"), 2.0, 5000)
    (letter,) = one.letters
    assert (letter.reason, letter.uncertain, letter.at_ms, letter.unknown_ms) == ("uncertain", True, 5000, 4000)
    assert letter.batch.unknown_since is None


def test_a_refusal_that_may_pass_waits_and_others_do_not_wait_for_it() -> None:
    one = spool()
    one.keep(batch("a", b"1"), 0.0, 0, AWAY)
    one.keep(batch("b", b"2"), 0.0, 0)
    one.probed("a", None, 0.0)
    step = one.step(0.0, 0)
    assert step is not None
    first, second = step.appends
    one.settle(first, BackendError("OOM"), 0.0, 0)
    one.settle(second, SENT, 0.0, 0)
    step = one.step(0.0, 0)
    assert step is not None
    assert step.wait > 0
    assert (one.takes(batch("a")), one.takes(batch("b")), one.dead) == (True, False, 0)
    assert flush(one) == [b"1"]


def test_many_that_fail_slowly_do_not_keep_the_turn_from_others() -> None:
    """Channels of a primary that is away take their deadline each time, which is longer than they rest."""
    one, now, sent = Spool(Settings(), one_server=False), 0.0, False
    for number in range(3 * APPENDS_PER_TRIP):
        one.keep(batch(f"dead{number}", b"1"), now, 0, AWAY)
    one.keep(batch("well", b"1"), now, 0, AWAY)
    for _ in range(4):
        step = one.step(now, 0)
        assert step is not None
        now += 5
        for merged in step.appends:
            well = merged.batch.channel == "well"
            one.settle(merged, SENT if well else AWAY, now, 0)
            sent = sent or well
    assert sent


def test_a_closed_channel_refuses_for_ever() -> None:
    one = spool()
    one.keep(batch("a", b"1"), 0.0, 0, AWAY)
    one.probed("a", None, 0.0)
    step = one.step(0.0, 0)
    assert step is not None
    one.settle(step.appends[0], ChannelClosed("closed"), 0.0, 0)
    assert [(letter.reason, letter.error) for letter in one.letters] == [("refused", "closed")]
    assert one.idle


def test_bounds() -> None:
    one = spool(spool_max_events=3)
    for number in range(5):
        one.keep(batch("a", b"%d" % number), 0.0, 0, AWAY)
    assert (one.queued, one.dead) == (3, 2)
    assert [letter.reason for letter in one.letters] == ["full", "full"]
    assert flush(one) == [b"0", b"1", b"2"]

    one = spool(spool_max_bytes=4096)
    one.keep(batch("a", b"x" * 3000), 0.0, 0, AWAY)
    one.keep(batch("a", b"y" * 3000), 0.0, 0, AWAY)
    assert (one.queued, one.dead) == (1, 1)

    one = spool(spool_max_seconds=10)
    one.keep(batch("a", b"old"), 0.0, 0, AWAY)
    one.keep(batch("a", b"young"), 5.0, 0)
    assert flush(one, now=11.0) == [b"young"]
    assert [letter.reason for letter in one.letters] == ["expired"]

    one = spool(spool_max_events=1, dead_letters_max=2)
    for number in range(6):
        one.keep(batch("a", b"%d" % number), 0.0, 0, AWAY)
    assert (one.dead, one.forgotten) == (5, 3)
    assert [letter.events[0]._payload().data for letter in one.letters] == [b"4", b"5"]


def test_ephemeral_events_are_live_or_nothing() -> None:
    one = spool()
    assert one.keep(batch("a", b"1", ephemeral=True), 0.0, 0, PublishUncertain("?"))
    assert (one.dropped, one.queued, one.idle) == (1, 0, True)


def test_dead_letters_go_into_the_brokers_box_when_it_is_back() -> None:
    one = Spool(Settings(spool_max_events=1), box=True)
    one.keep(batch("a", b"1"), 0.0, 0, AWAY)
    one.keep(batch("a", b"2"), 0.0, 0)
    one.probed("a", None, 0.0)
    step = one.step(0.0, 0)
    assert step is not None
    one.settle(step.appends[0], SENT, 0.0, 0)
    step = one.step(0.0, 0)
    assert step is not None
    assert len(step.letters) == 1
    one.stored(step.letters, AWAY, 0.0)
    again = one.step(0.0, 0)
    assert again is not None
    assert again.wait > 0
    one.stored(step.letters, None, 1.0)
    assert one.step(1.0, 0) is None


OUTCOMES = st.sampled_from(["sent", "away", "uncertain", "found", "refused", "oom"])


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.sampled_from("abc")),
            st.tuples(st.just("outcomes"), st.lists(OUTCOMES, min_size=1, max_size=4)),
        ),
        max_size=60,
    )
)
def test_order_and_count_whatever_the_broker_does(story: list[tuple[str, Any]]) -> None:
    """Every event is published once in its channel's order, or is one dead letter, or still waits; never two of these."""
    one = spool(spool_max_events=8)
    now = 0.0
    log: dict[str, list[bytes]] = defaultdict(list)
    told: list[int] = []
    count = 0
    for what, value in story:
        now += 1.0
        if what == "publish":
            event = batch(value, b"%d" % count)
            count += 1
            if one.takes(event):
                one.keep(event, now, 0)
            else:
                one.keep(event, now, 0, AWAY)
            continue
        for outcome in value:
            step = one.step(now, 0)
            if step is None or step.wait:
                break
            if step.probe is not None:
                one.probed(step.probe, AWAY if outcome == "away" else None, now)
            for merged in step.appends:
                told += tell(one, merged.batch, merged, outcome, log, now)
    waiting = [int(each.batch.entries[0].data) for queue in one._queues.values() for each in queue.letters]
    dead = {letter.events[0].data: letter.uncertain for letter in one.letters}
    published = {int(data) for datas in log.values() for data in datas}
    assert sorted([*told, *waiting, *dead]) == list(range(count))
    assert len(waiting) == one.queued
    assert set(told) <= published
    assert all(uncertain for number, uncertain in dead.items() if number in published)
    for datas in log.values():
        assert [int(data) for data in datas] == sorted({int(data) for data in datas})


def tell(one: Spool, sent: Append, merged: Any, outcome: str, log: dict[str, list[bytes]], now: float) -> list[int]:
    """A broker that recognises what it has, as the append script does; returns what it confirmed."""
    datas = [entry.data for entry in sent.entries]
    known = log[sent.channel]
    if outcome in ("sent", "found", "uncertain"):
        known += [data for data in datas if data not in known]
    if outcome in ("sent", "found"):
        one.settle(merged, SENT, now, 0)
        return [int(data) for data in datas]
    if outcome == "uncertain":
        one.settle(merged, PublishUncertain("?", unknown_since=now), now, 0)
    else:
        error = {"away": AWAY, "refused": ChannelClosed("closed"), "oom": BackendError("OOM")}[outcome]
        one.settle(merged, error, now, 0)
    return []


def test_letters_in_the_broker_are_read_back() -> None:
    event = batch("a", b'{"n":1}', b'"\xc3\x9f"', close=True, idempotency_key="k")
    letter = DeadLetter("a", "expired", "it waited", 1_700_000_000_123, 1_700_000_000_000, event)
    again = decode_letter(encode_letter(letter))
    assert again == letter
    assert [(each.type, each.data) for each in again.events] == [("order.paid", {"n": 1}), ("order.paid", "ß")]
    assert again.at.isoformat() == "2023-11-14T22:13:20.123000+00:00"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"version": 2}', b"\xff", b'{"version":1,"channel":"a"}'])
def test_what_is_no_letter_is_foreign(data: bytes) -> None:
    with pytest.raises(ForeignRecord, match="dead letter"):
        decode_letter(data)


def test_a_letter_whose_check_would_not_fit_into_the_meta_is_foreign() -> None:
    event = batch("a", b"1")
    letter = DeadLetter("a", "expired", "it waited", 1_700_000_000_123, None, event)
    data = encode_letter(letter)
    assert decode_letter(data) == letter
    check = event.entries[0].check
    with pytest.raises(ForeignRecord, match="dead letter"):
        decode_letter(data.replace(check, check[:5]))
