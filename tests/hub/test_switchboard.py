"""What a hub must do next, without a hub: subscriptions that linger, reads, backoff, checks, and who is woken."""

from __future__ import annotations

import logging

import pytest

from sse_bridge.config import Settings
from sse_bridge.follow.wish import make_wish
from sse_bridge.hub.switchboard import CHECKS_PER_TICK, READS_AT_ONCE, Switchboard, log_lag
from tests.follow.model import Broker, CheckingReader, announce, settle

SETTINGS = Settings(linger_seconds=5, check_seconds=10)


@pytest.fixture
def board() -> Switchboard:
    return Switchboard(SETTINGS)


@pytest.fixture
def broker() -> Broker:
    return Broker()


def confirm(board: Switchboard) -> list[str]:
    channels = board.subscribes()
    for channel in channels:
        board.confirmed(channel)
    return channels


def test_a_channel_is_subscribed_once_and_lingers(board: Switchboard, broker: Broker) -> None:
    first = CheckingReader(broker, board, ["a"])
    second = CheckingReader(broker, board, ["a", "b"])
    assert board.subscribes() == ["a", "b"]
    assert board.subscribes() == []
    first.board.leave(first, 100)
    assert board.unsubscribes(200) == []
    second.board.leave(second, 100)
    second.board.leave(second, 100)
    assert board.unsubscribes(104) == []
    third = CheckingReader(broker, board, ["a"])
    assert board.subscribes() == []
    assert board.unsubscribes(106) == ["b"]
    third.board.leave(third, 106)
    assert board.unsubscribes(111) == ["a"]
    assert board.feeds == {}


def test_reads_are_bounded_per_round_trip(board: Switchboard, broker: Broker) -> None:
    readers = [CheckingReader(broker, board, [f"c{n}"]) for n in range(READS_AT_ONCE + 5)]
    confirm(board)
    assert len(board.reads(0)) == READS_AT_ONCE
    assert len(board.reads(0)) == 5
    assert board.reads(0) == []
    assert len(readers) == READS_AT_ONCE + 5


def test_nothing_is_read_before_the_confirmation(board: Switchboard, broker: Broker) -> None:
    CheckingReader(broker, board, ["a"])
    assert board.reads(0) == []
    confirm(board)
    assert [request.channel for _, request in board.reads(0)] == ["a"]


def test_a_failed_read_is_tried_again_after_a_growing_pause(board: Switchboard, broker: Broker) -> None:
    reader = CheckingReader(broker, board, ["a"])
    confirm(board)
    now, pauses = 100.0, []
    for _ in range(8):
        ((feed, _),) = board.reads(now)
        board.failed([feed], now)
        when = board.next_read_at()
        assert when is not None
        assert board.reads(when - 0.001) == []
        pauses.append(when - now)
        now = when
    assert 0.02 <= pauses[0] <= 0.05
    assert 1.0 <= pauses[-1] <= 2.0
    ((feed, request),) = board.reads(now)
    board.resolved(feed, broker.log("a").read(request))
    assert board.next_read_at() is not None
    settle(broker, board, [reader])
    reader.check_settled()


def test_only_readers_of_what_changed_are_woken(board: Switchboard, broker: Broker) -> None:
    a, b = CheckingReader(broker, board, ["a"]), CheckingReader(broker, board, ["b"])
    confirm(board)
    settle(broker, board, [a, b])
    entry = broker.log("a").append()
    announce(board, "a", broker.log("a"), [entry])
    assert board.changed() == {a}
    assert board.changed() == set()
    announce(board, "a", broker.log("a"), [entry])  # once more: nothing new
    assert board.changed() == set()
    announce(board, "nobody-reads-this", broker.log("x"), [])
    assert board.changed() == set()


def test_a_check_finds_what_was_lost_in_silence(board: Switchboard, broker: Broker) -> None:
    reader = CheckingReader(broker, board, ["a"])
    confirm(board)
    settle(broker, board, [reader])
    broker.log("a").append()  # announced to nobody
    board.check_some(1000)
    settle(broker, board, [reader])
    assert len(reader.seen["a"]) == 1
    board.check_some(1005)  # too soon
    assert board.reads(1005) == []
    board.check_some(1010)
    assert len(board.reads(1010)) == 1


def test_a_busy_channel_is_checked_when_it_falls_silent(board: Switchboard, broker: Broker) -> None:
    """Reading it while live messages prove that nothing is missing would only hold them up."""
    reader = CheckingReader(broker, board, ["a"])
    confirm(board)
    settle(broker, board, [reader])
    log = broker.log("a")
    for second in range(25):
        announce(board, "a", log, [log.append()])
        board.check_some(1000 + second)
        assert board.reads(1000 + second) == []
    log.append()  # announced to nobody, since the subscription has ended in silence
    board.check_some(1025)
    ((feed, request),) = board.reads(1025)
    board.resolved(feed, log.read(request))
    settle(broker, board, [reader])
    assert len(reader.seen["a"]) == 26
    reader.check_settled()
    board.check_some(1026)
    assert board.reads(1026) == [], "once is enough until the next round"
    board.check_some(1036)
    assert len(board.reads(1036)) == 1


def test_live_messages_of_another_history_prove_nothing(board: Switchboard, broker: Broker) -> None:
    """Ephemeral ones follow the head of a log that is not ours: nobody waits for a round of checks to learn of it."""
    reader = CheckingReader(broker, board, ["a"])
    confirm(board)
    settle(broker, board, [reader])
    log = broker.log("a")
    announce(board, "a", log, [log.append(), log.append()])
    settle(broker, board, [reader])
    assert broker.fail_over("a", 1)
    log.append()  # announced to nobody
    announce(board, "a", log, [log.ephemeral()])
    board.changed()
    ((feed, request),) = board.reads(1000)
    board.resolved(feed, log.read(request))
    settle(broker, board, [reader])
    reader.check_settled()
    assert reader.gaps["a"] == 1


def test_a_check_reads_the_log_of_a_channel_whose_link_is_lost(board: Switchboard, broker: Broker) -> None:
    """An ACL may forbid the subscription and not the reading; and the list is the truth."""
    reader = CheckingReader(broker, board, ["a"])
    confirm(board)
    settle(broker, board, [reader])
    board.lost(None)
    for number in range(1, 3):
        broker.log("a").append()
        settle(broker, board, [reader])
        assert len(reader.seen["a"]) == number - 1
        board.check_some(1000 + 10 * number)
        settle(broker, board, [reader])
        assert len(reader.seen["a"]) == number
    board.check_some(1030)
    ((feed, _),) = board.reads(1030)
    board.failed([feed], 1030)
    assert board.reads(1035) == []  # once per check: the broker may be away
    broker.log("a").append()
    board.confirmed("a")
    assert len(board.reads(1030)) == 1  # it answers again, so nobody waits for the pause after a failure
    feed.fail()
    board.confirmed("a")
    settle(broker, board, [reader])
    reader.check_settled()


def test_a_check_reads_nothing_for_a_channel_that_was_never_subscribed(board: Switchboard, broker: Broker) -> None:
    CheckingReader(broker, board, ["a"])
    board.check_some(1000)
    assert board.reads(1000) == []


def test_checks_are_bounded_per_tick_and_their_period_is_reported(board: Switchboard, broker: Broker) -> None:
    settings = Settings(max_channels=80)
    count = CHECKS_PER_TICK + 10
    readers = [
        CheckingReader(broker, board, [f"c{n}" for n in range(start, min(start + 20, count))])
        for start in range(0, count, 20)
    ]
    confirm(board)
    settle(broker, board, readers)
    board.check_some(1000)
    assert sum(1 for feed in board.feeds.values() if feed.stale) == CHECKS_PER_TICK
    board.check_some(1001)
    assert sum(1 for feed in board.feeds.values() if feed.stale) == count
    settle(broker, board, readers)
    board.check_some(1060)
    assert board.checked_seconds == 60
    assert make_wish(settings, "a").channels == ("a",)


def test_a_lost_link_is_news_once(board: Switchboard, broker: Broker) -> None:
    reader = CheckingReader(broker, board, ["a"])
    confirm(board)
    settle(broker, board, [reader])
    assert board.lost(None)
    assert not board.lost(None)
    broker.log("a").append()
    board.confirmed("a")
    settle(broker, board, [reader])
    reader.check_settled()


def test_a_slow_reader_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    board = Switchboard(SETTINGS)
    wish = make_wish(SETTINGS, "a", policy="drop_oldest", queue_size=2)
    follower = board.follower(wish)
    broker = Broker()
    confirm(board)
    with caplog.at_level(logging.WARNING, "sse_bridge.hub"):
        for _ in range(3):
            board.ready(follower)
            for feed, request in board.reads(0):
                board.resolved(feed, broker.log("a").read(request))
            for _ in range(10):
                announce(board, "a", broker.log("a"), [broker.log("a").append()])
            board.changed()
            while board.pull(follower, 10_000) is not None:
                log_lag(follower)
    assert follower.dropped > 2
    assert len([record for record in caplog.records if "is slow" in record.getMessage()]) == 1
