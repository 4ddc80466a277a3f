"""A lost log: what is still under way of it when the loss has been told is not shown again, and not lost again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_bridge.events import GENESIS, NO_EPOCH, Entry, channel_key
from sse_bridge.follow.batch import BatchCache
from sse_bridge.follow.cursor import Cursor
from sse_bridge.follow.feed import Feed
from sse_bridge.follow.follower import Follower
from sse_bridge.follow.policies import Pace
from sse_bridge.follow.start_point import StartPoint
from sse_bridge.records.codec import Announcement, positions_for
from sse_bridge.records.continuity import Page
from tests.follow.model import T0, CheckingReader, id_of
from tests.follow.stage import Stage

STEPS = st.one_of(
    st.tuples(st.sampled_from(["publish", "publish", "hear"]), st.integers(1, 4)),
    st.tuples(st.sampled_from(["flush", "flush", "fail_over"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["read", "read", "read", "ask", "answer", "check", "pull", "fail"]), st.just(0)),
    st.tuples(st.sampled_from(["join", "join_behind", "come_back", "cut", "lose", "evict"]), st.integers(0, 9)),
)


class Ahead(Stage):
    """Its readers read what is still to be heard."""

    def read(self, _: int = 0) -> None:
        self.check(0)
        self.settle()


def seen_by_reading(entries: int = 3) -> tuple[Ahead, CheckingReader]:
    """A reader that has read what is still to be heard."""
    stage = Ahead(["c"])
    reader = stage.enter(start="earliest")
    stage.settle()
    stage.publish(entries)
    stage.read()
    assert offsets(reader) == list(range(1, entries + 1))
    return stage, reader


def offsets(reader: CheckingReader) -> list[int]:
    return [offset for _, offset, _ in reader.seen["c"]]


@pytest.mark.parametrize("kept_aside", [False, True])
@pytest.mark.parametrize("losses", [1, 3])
def test_what_is_heard_behind_the_gap_is_not_shown_again(losses: int, kept_aside: bool) -> None:
    stage, reader = seen_by_reading()
    for loss in range(losses):
        if loss:
            stage.publish(2)
            stage.read()
        stage.flush(0)
        stage.check(0)
        if not kept_aside or loss < losses - 1:
            stage.settle()
    stage.hear(9)
    stage.settle()
    assert reader.gaps["c"] == losses
    stage.publish(2)
    stage.finish()
    assert offsets(reader) == [1, 2, 3, *[1, 2] * losses]
    assert reader.gaps["c"] == losses


def test_the_next_life_is_heard_without_a_read() -> None:
    stage, reader = seen_by_reading()
    stage.hear(3)
    stage.flush(0)
    stage.read()
    stage.publish(2)
    stage.hear(2)
    assert stage.state.reads(T0) == []
    while reader.pull(10_000):
        pass
    assert offsets(reader) == [1, 2, 3, 1, 2]


def test_who_has_seen_it_elsewhere_does_not_see_it_again() -> None:
    """It comes from another process with an id of the lost life, of which this one has heard nothing yet."""
    stage = Ahead(["c"])
    stage.enter()
    stage.settle()
    stage.publish(3)
    seen = id_of("c", stage.broker.log("c").chain[3])
    stage.flush(0)
    late = stage.enter(after=seen)
    stage.settle()
    assert late.gaps["c"] == 1
    stage.hear(3)
    stage.finish()
    assert (offsets(late), late.gaps["c"]) == ([], 1)


def test_who_was_told_elsewhere_does_not_see_it_again() -> None:
    """It comes to a process that believes in the lost life still."""
    stage, reader = seen_by_reading()
    other = Ahead(["c"])
    other.broker = stage.broker
    other.enter(start="earliest")
    other.settle()
    stage.flush(0)
    stage.read()
    assert reader.gaps["c"] == 1
    again = other.enter(after=reader.last_id)
    other.finish()
    assert (offsets(again), again.gaps["c"]) == ([], 0)
    other.publish(2)
    other.finish()
    assert (offsets(again), again.gaps["c"]) == ([1, 2], 0)


def test_who_was_told_elsewhere_does_not_hear_it_here() -> None:
    """It comes to a process that has read nothing of the lost life yet, and hears of it later."""
    stage, reader = seen_by_reading()
    other = Ahead(["c"])
    other.broker = stage.broker
    late = other.enter()
    stage.flush(0)
    stage.read()
    other.settle()
    again = other.enter(after=reader.last_id)
    other.settle()
    other.unheard = list(stage.unheard)
    other.finish()
    assert (offsets(again), offsets(late), again.gaps["c"]) == ([], [], 0)


def test_no_made_up_id_takes_back_what_the_feed_refuses() -> None:
    stage, reader = seen_by_reading()
    stage.flush(0)
    stage.read()
    for number in range(9):
        stage.enter(after=f"{channel_key('c').decode()}-FORGED{number}-1-x")
        stage.settle()
    stage.hear(3)
    stage.settle()
    assert (offsets(reader), reader.gaps["c"]) == ([1, 2, 3], 1)


def test_readers_in_one_place_keep_what_each_was_told() -> None:
    """Without entries all stand at the same serial, and another channel's event tells each of them its id."""
    key_a, key_b = (channel_key(name).decode() for name in "ab")
    feeds = [
        feed("a", Page(NO_EPOCH, 0, GENESIS, False, 1, 1, [], False)),
        feed("b", Page(b"F", 1, b"F", False, 2, 2, [], False)),
    ]
    parts = ["0-0-0", "0-0-LOST1", "0-0-LOST2", "LOST1-2-x-e", "LOST2-2-x-e"]
    cache = BatchCache()
    followers = []
    for part in parts:
        positions, invalid = positions_for("ab", f"{key_a}-{part}.{key_b}-F-1-F")
        cursors = [
            Cursor(one, StartPoint("now"), position, invalid, None, Pace("catch_up", 100), 1 << 20)
            for one, position in zip(feeds, positions, strict=True)
        ]
        follower = Follower(cursors, None, 100)
        while not follower.ready:
            assert feeds[0].next_read()
            feeds[0].resolve(Page(NO_EPOCH, 0, GENESIS, False, 1, 1, [], False))
        assert follower.pull(cache, 1 << 16) is None
        followers.append(follower)
    cache.clear()
    feeds[1].announce(Announcement(None, 2, [Entry(b"F", 2, b"F", b"G", 0, "u", "J", "t", b"1")]))
    told = [batch.deliveries[-1].id for follower in followers if (batch := follower.pull(cache, 1 << 16))]
    assert told == [f"{key_a}-{part}.{key_b}-F-2-G".encode() for part in parts]


def feed(channel: str, page: Page) -> Feed:
    made = Feed(channel, 1 << 20)
    made.confirm()
    assert made.next_read()
    made.resolve(page)
    return made


def test_a_lost_log_that_comes_back_is_read_again() -> None:
    """A replica that has it becomes the primary; what is announced of it alone does not bring it back."""
    stage, reader = seen_by_reading()
    stage.hear(3)
    log = stage.broker.log("c")
    stage.flush(0)
    stage.read()
    stage.broker.logs["c"] = log
    reader.seen["c"].clear()
    stage.publish(1)
    stage.hear(1)
    stage.finish()
    assert (offsets(reader), reader.gaps["c"]) == ([1, 2, 3, 4], 1)
    stage.publish(1)
    stage.hear(1)
    stage.pull(0)
    assert offsets(reader) == [1, 2, 3, 4, 5]


def test_what_a_failover_threw_away_is_not_shown_again() -> None:
    stage, reader = seen_by_reading(5)
    stage.check(0)
    stage.hear(5)
    stage.fail_over(2)
    stage.settle()
    assert (offsets(reader), reader.gaps["c"]) == ([1, 2, 3, 4, 5], 1)
    stage.publish(1)
    stage.finish()
    assert (offsets(reader), reader.gaps["c"]) == ([1, 2, 3, 4, 5, 4], 1)


@given(steps=st.lists(STEPS, min_size=5, max_size=50))
@settings(max_examples=400, deadline=None)
def test_nothing_comes_twice_and_no_loss_is_told_twice(steps: list[tuple[str, int]]) -> None:
    stage = Ahead(["c"])
    stage.enter(start="earliest")
    stage.settle()
    for step, number in steps:
        stage.do(step, number)
    stage.finish()
