"""A stored end is one entry of one history: it is believed while the log is gone or closed there, and no longer."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.follow.model import CheckingReader
from tests.follow.stage import Stage

STEPS = st.one_of(
    st.tuples(st.sampled_from(["publish", "hear"]), st.integers(1, 3)),
    st.tuples(st.sampled_from(["end", "end", "flush", "fail_over"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(["ask", "answer", "pull", "pull", "check"]), st.just(0)),
    st.tuples(st.sampled_from(["join_behind", "join_behind", "come_back", "cut", "lose", "evict"]), st.integers(0, 9)),
)


def ended(channels: list[str]) -> tuple[Stage, CheckingReader]:
    """A reader that has seen the end of the first channel."""
    stage = Stage(channels)
    reader = stage.enter(start="earliest")
    stage.publish(2)
    stage.end(0)
    stage.finish()
    assert reader.follower.cursors[0].ended
    return stage, reader


def marks(reader: CheckingReader, channel: str = "a") -> list[int]:
    return [offset for _, offset, _ in reader.seen[channel]]


def test_it_stands_while_the_log_is_closed_there() -> None:
    stage, reader = ended(["a"])
    again = stage.enter(after=reader.last_id)
    assert not stage.state.ready(again.follower), "the log is asked"
    stage.finish()
    assert again.follower.finished
    assert again.follower.id() == reader.last_id.encode()  # type: ignore[union-attr]
    assert marks(again) == []


def test_it_stands_while_the_log_is_gone() -> None:
    stage, reader = ended(["a", "b"])
    stage.flush(0)
    again = stage.enter(after=reader.last_id)
    stage.finish()
    for each in (reader, again):
        assert each.follower.cursors[0].ended
        assert each.gaps["a"] == 0


def test_a_log_that_begins_anew_is_told_to_who_is_connected_and_to_who_comes_back() -> None:
    stage, reader = ended(["a", "b"])
    stage.flush(0)
    again = stage.enter(after=reader.last_id)
    stage.publish(2)
    stage.finish()
    assert marks(reader) == [1, 2, 3, 1, 2]
    assert marks(again) == [1, 2]
    assert reader.gaps == again.gaps == {"a": 1, "b": 0}


def test_it_is_noticed_without_an_announcement() -> None:
    stage, reader = ended(["a", "b"])
    stage.flush(0)
    stage.publish(2)
    stage.unheard = []
    stage.finish()
    assert marks(reader) == [1, 2, 3, 1, 2]


def test_a_history_without_the_end_goes_on() -> None:
    """What a failover does: the newest entries are gone, and others take their offsets."""
    for published in (0, 1, 2, 5):
        stage, reader = ended(["a"])
        stage.broker.fail_over("a", 1)
        stage.publish(published)
        stage.unheard = []
        again = stage.enter(after=reader.last_id)
        stage.finish()
        assert not again.follower.finished
        assert again.gaps["a"] == 1
        assert marks(again) == list(range(4, 3 + published))
        stage.publish(1)
        stage.finish()
        assert marks(again)[-1:] == [3 + published]


def test_an_end_that_this_process_has_not_heard_of_is_one_all_the_same() -> None:
    stage = Stage(["a"])
    stage.enter(start="earliest")
    stage.publish(2)
    stage.finish()
    stage.end(0)
    entry = stage.broker.log("a").chain[3]
    stage.do("join_behind", 0)
    again = stage.readers[-1]
    stage.settle()
    assert entry.is_end
    assert again.follower.finished
    assert marks(again) == []


@given(steps=st.lists(STEPS, min_size=4, max_size=50), channels=st.sampled_from([["a"], ["a", "b"]]))
@settings(max_examples=300, deadline=None)
def test_nobody_stays_behind_an_end_that_is_none(steps: list[tuple[str, int]], channels: list[str]) -> None:
    stage = Stage(channels)
    stage.enter(start="earliest")
    for step, number in steps:
        stage.do(step, number)
    stage.finish()
