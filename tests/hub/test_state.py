"""What a hub must do next, without a hub: subscriptions that linger, reads, backoff, checks, and who is woken."""

from __future__ import annotations

import logging

import pytest

from sse_bridge.config import Settings
from sse_bridge.events import Position, channel_key
from sse_bridge.follow.batch import Step
from sse_bridge.follow.cursor import NOWHERE
from sse_bridge.follow.subscribe_request import make_request
from sse_bridge.hub.holds import report_progress
from sse_bridge.hub.schedule import CHECKS_PER_TICK, READS_AT_ONCE
from sse_bridge.hub.state import HubState
from sse_bridge.records.continuity import Point
from tests.follow.model import Broker, CheckingReader, announce, settle
from tests.follow.stage import subscribe

SETTINGS = Settings(linger_seconds=5, check_seconds=10)


@pytest.fixture
def state() -> HubState:
    return HubState(SETTINGS)


@pytest.fixture
def broker() -> Broker:
    return Broker()


def confirm(state: HubState) -> list[str]:
    channels = subscribe(state)
    for channel in channels:
        state.confirmed(channel)
    return channels


def test_who_begins_anew_from_where_it_stood_does_not_say_an_end_of_before(state: HubState, broker: Broker) -> None:
    """Its first id said an end that was none any more; a pull that was interrupted behind that is taken back."""
    end, later = (
        Position(channel_key("a").decode(), "EEEEEEEE", 3, "CCCCCCCC", True),
        Point(b"EEEEEEEE", 5, b"DDDDDDDD"),
    )
    wanted = make_request(SETTINGS, "a", after=end)
    first = state.follower(wanted)
    assert first.id().endswith(b"-3-CCCCCCCC-e")
    anew = state.follower(wanted, first, [Step(NOWHERE, later, False, 0, False)])
    assert anew.id().endswith(b"-5-DDDDDDDD")


def test_a_channel_is_subscribed_once_and_lingers(state: HubState, broker: Broker) -> None:
    first = CheckingReader(broker, state, ["a"])
    second = CheckingReader(broker, state, ["a", "b"])
    assert subscribe(state) == ["a", "b"]
    assert subscribe(state) == []
    first.state.leave(first, 100)
    assert state.unsubscribes(200) == []
    second.state.leave(second, 100)
    second.state.leave(second, 100)
    assert state.unsubscribes(104) == []
    third = CheckingReader(broker, state, ["a"])
    assert subscribe(state) == []
    assert state.unsubscribes(106) == ["b"]
    third.state.leave(third, 106)
    assert state.unsubscribes(111) == ["a"]
    assert state.feeds == {}


def test_reads_are_bounded_per_round_trip(state: HubState, broker: Broker) -> None:
    readers = [CheckingReader(broker, state, [f"c{n}"]) for n in range(READS_AT_ONCE + 5)]
    confirm(state)
    assert len(state.reads(0)) == READS_AT_ONCE
    assert len(state.reads(0)) == 5
    assert state.reads(0) == []
    assert len(readers) == READS_AT_ONCE + 5


def test_nothing_is_read_before_the_confirmation(state: HubState, broker: Broker) -> None:
    CheckingReader(broker, state, ["a"])
    assert state.reads(0) == []
    confirm(state)
    assert [request.channel for _, request in state.reads(0)] == ["a"]


def test_a_failed_read_is_tried_again_after_a_growing_pause(state: HubState, broker: Broker) -> None:
    reader = CheckingReader(broker, state, ["a"])
    confirm(state)
    now, pauses = 100.0, []
    for _ in range(8):
        ((feed, _),) = state.reads(now)
        state.failed([feed], now)
        when = state.next_read_at()
        assert when is not None
        assert state.reads(when - 0.001) == []
        pauses.append(when - now)
        now = when
    assert 0.02 <= pauses[0] <= 0.05
    assert 1.0 <= pauses[-1] <= 2.0
    ((feed, request),) = state.reads(now)
    state.resolved(feed, broker.log("a").read(request))
    assert state.next_read_at() is None, "it was all that the reader waited for"
    settle(broker, state, [reader])
    reader.check_settled()


def test_only_readers_of_what_changed_are_woken(state: HubState, broker: Broker) -> None:
    a, b = CheckingReader(broker, state, ["a"]), CheckingReader(broker, state, ["b"])
    confirm(state)
    settle(broker, state, [a, b])
    entry = broker.log("a").append()
    announce(state, "a", broker.log("a"), [entry])
    assert state.changed() == {a}
    assert state.changed() == set()
    announce(state, "a", broker.log("a"), [entry])  # once more: nothing new
    assert state.changed() == set()
    announce(state, "nobody-reads-this", broker.log("x"), [])
    assert state.changed() == set()


def test_a_check_finds_what_was_lost_in_silence(state: HubState, broker: Broker) -> None:
    reader = CheckingReader(broker, state, ["a"])
    confirm(state)
    settle(broker, state, [reader])
    broker.log("a").append()  # announced to nobody
    state.check_some(1000)
    settle(broker, state, [reader])
    assert len(reader.seen["a"]) == 1
    state.check_some(1005)  # too soon
    assert state.reads(1005) == []
    state.check_some(1010)
    assert len(state.reads(1010)) == 1


def test_a_busy_channel_is_checked_when_it_falls_silent(state: HubState, broker: Broker) -> None:
    """Reading it while live messages prove that nothing is missing would only hold them up."""
    reader = CheckingReader(broker, state, ["a"])
    confirm(state)
    settle(broker, state, [reader])
    log = broker.log("a")
    for second in range(25):
        announce(state, "a", log, [log.append()])
        state.check_some(1000 + second)
        assert state.reads(1000 + second) == []
    log.append()  # announced to nobody, since the subscription has ended in silence
    state.check_some(1025)
    ((feed, request),) = state.reads(1025)
    state.resolved(feed, log.read(request))
    settle(broker, state, [reader])
    assert len(reader.seen["a"]) == 26
    reader.check_settled()
    state.check_some(1026)
    assert state.reads(1026) == [], "once is enough until the next round"
    state.check_some(1036)
    assert len(state.reads(1036)) == 1


def test_live_messages_of_another_history_prove_nothing(state: HubState, broker: Broker) -> None:
    """Ephemeral ones follow the head of a log that is not ours: nobody waits for a round of checks to learn of it."""
    reader = CheckingReader(broker, state, ["a"])
    confirm(state)
    settle(broker, state, [reader])
    log = broker.log("a")
    announce(state, "a", log, [log.append(), log.append()])
    settle(broker, state, [reader])
    assert broker.fail_over("a", 1)
    log.append()  # announced to nobody
    announce(state, "a", log, [log.ephemeral()])
    state.changed()
    ((feed, request),) = state.reads(1000)
    state.resolved(feed, log.read(request))
    settle(broker, state, [reader])
    reader.check_settled()
    assert reader.gaps["a"] == 1


def test_a_check_reads_the_log_of_a_channel_whose_link_is_lost(state: HubState, broker: Broker) -> None:
    """An ACL may forbid the subscription and not the reading; and the list is the truth."""
    reader = CheckingReader(broker, state, ["a"])
    confirm(state)
    settle(broker, state, [reader])
    state.lost(None)
    for number in range(1, 3):
        broker.log("a").append()
        settle(broker, state, [reader])
        assert len(reader.seen["a"]) == number - 1
        state.check_some(1000 + 10 * number)
        settle(broker, state, [reader])
        assert len(reader.seen["a"]) == number
    state.check_some(1030)
    ((feed, _),) = state.reads(1030)
    state.failed([feed], 1030)
    assert state.reads(1035) == []  # once per check: the broker may be away
    broker.log("a").append()
    state.confirmed("a")
    assert len(state.reads(1030)) == 1  # it answers again, so nobody waits for the pause after a failure
    feed.fail()
    state.confirmed("a")
    settle(broker, state, [reader])
    reader.check_settled()


def test_a_check_reads_nothing_for_a_channel_that_was_never_subscribed(state: HubState, broker: Broker) -> None:
    CheckingReader(broker, state, ["a"])
    state.check_some(1000)
    assert state.reads(1000) == []


def test_checks_are_bounded_per_tick(state: HubState, broker: Broker) -> None:
    count = CHECKS_PER_TICK + 10
    readers = [
        CheckingReader(broker, state, [f"c{n}" for n in range(start, min(start + 20, count))])
        for start in range(0, count, 20)
    ]
    confirm(state)
    settle(broker, state, readers)
    state.check_some(1000)
    assert sum(1 for feed in state.feeds.values() if feed.stale) == CHECKS_PER_TICK
    state.check_some(1001)
    assert sum(1 for feed in state.feeds.values() if feed.stale) == count


def test_a_lost_link_is_news_once(state: HubState, broker: Broker) -> None:
    reader = CheckingReader(broker, state, ["a"])
    confirm(state)
    settle(broker, state, [reader])
    assert state.lost(None)
    assert not state.lost(None)
    broker.log("a").append()
    state.confirmed("a")
    settle(broker, state, [reader])
    reader.check_settled()


def test_a_slow_reader_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    state = HubState(SETTINGS)
    wanted = make_request(SETTINGS, "a", policy="drop_oldest", queue_size=2)
    follower = state.follower(wanted)
    broker = Broker()
    confirm(state)
    with caplog.at_level(logging.WARNING, "sse_bridge.hub"):
        for _ in range(3):
            state.ready(follower)
            for feed, request in state.reads(0):
                state.resolved(feed, broker.log("a").read(request))
            for _ in range(10):
                announce(state, "a", broker.log("a"), [broker.log("a").append()])
            state.changed()
            while state.pull(follower, 10_000) is not None:
                report_progress(follower, ())
    assert follower.dropped > 2
    assert len([record for record in caplog.records if "is slow" in record.getMessage()]) == 1
