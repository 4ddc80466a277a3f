"""`now` and the last N are those of the log when the reader comes, however far behind it this process is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_bridge.hub.state import HubState
from tests.follow.model import T0, CheckingReader
from tests.follow.stage import Stage

STEPS = st.one_of(
    st.tuples(st.sampled_from(["publish", "publish", "hear"]), st.integers(1, 5)),
    st.tuples(st.sampled_from(["join", "join", "join_last", "join_lost", "join_behind"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["ask", "ask", "answer", "answer", "fail", "pull", "pull"]), st.just(0)),
    st.tuples(st.sampled_from(["leave", "cut", "come_back", "lose", "check", "evict"]), st.integers(0, 9)),
)


def followed(entries: int = 3) -> Stage:
    """A channel that the process follows already, and more of it than was heard."""
    stage = Stage(["c"])
    stage.enter(start="earliest")
    stage.settle()
    stage.publish(entries)
    return stage


def offsets(reader: CheckingReader) -> list[int]:
    return [offset for _, offset, _ in reader.seen["c"]]


@pytest.mark.parametrize(("options", "first"), [({}, 4), ({"start": "now"}, 4), ({"last": 2}, 2), ({"last": 9}, 1)])
def test_what_was_published_before_it_came_is_not_now(options: dict[str, int], first: int) -> None:
    stage = followed(3)
    reader = stage.enter(**options)
    stage.settle()
    stage.hear(3)
    stage.publish(1)
    stage.finish()
    assert offsets(reader) == list(range(first, 5))


def test_a_look_under_way_is_not_for_who_comes_later() -> None:
    stage = followed(0)
    stage.join(0)
    stage.ask(0)
    stage.publish(2)
    late = stage.enter()
    assert not late.pull(1)
    stage.answer(0)
    assert not late.opened
    stage.finish()
    assert late.opened
    assert offsets(late) == []
    assert offsets(stage.readers[1]) == [1, 2]


def test_one_look_serves_all_who_came_before_it_and_wakes_nobody_else() -> None:
    stage = followed(5)
    stage.finish()
    stayed = stage.readers[0]
    stayed.woken = 0
    readers = [stage.enter() for _ in range(50)] + [stage.enter(last=3) for _ in range(50)]
    for reader in readers:
        assert not stage.state.ready(reader.follower)
    ((feed, request),) = stage.state.reads(T0)
    assert request.limit == 0, "the window has the last three"
    stage.state.resolved(feed, stage.broker.log("c").read(request))
    assert stage.state.changed() == set(readers)
    assert all(stage.state.ready(reader.follower) for reader in readers)
    assert stage.state.reads(T0) == []


def test_a_reader_with_an_id_needs_no_look() -> None:
    stage = followed(5)
    stage.finish()
    again = stage.enter(after=stage.readers[0].last_id)
    assert stage.state.ready(again.follower)
    assert stage.state.reads(T0) == []


def test_readers_behind_are_not_held_up_by_those_who_come() -> None:
    """Somebody always asks for the top; the page for those behind says it as well."""
    stage = followed(30)
    stage.finish()
    behind = stage.enter(start="earliest")
    for _ in range(30):
        stage.join(0)
        for feed, request in stage.state.reads(T0):
            assert request.limit > 0 or not behind.follower.behind
            stage.state.resolved(feed, stage.broker.log("c").read(request))
        stage.state.changed()
        while behind.pull(10_000):
            pass
    assert offsets(behind) == list(range(1, 31))


@given(steps=st.lists(STEPS, min_size=5, max_size=50), entry_bytes=st.sampled_from([20, 600]))
@settings(max_examples=200, deadline=None)
def test_nobody_gets_what_was_there_before_it_came(steps: list[tuple[str, int]], entry_bytes: int) -> None:
    stage = Stage(["c"], entry_bytes=entry_bytes)
    stage.enter(start="earliest")
    stage.settle()
    for step, number in steps:
        stage.do(step, number)
    stage.finish()


def test_a_channel_that_is_followed_by_nobody_needs_one_read() -> None:
    stage = Stage(["c"])
    stage.publish(3)
    readers = [stage.enter() for _ in range(3)]
    state: HubState = stage.state
    assert not any([state.ready(reader.follower) for reader in readers])
    ((feed, request),) = state.reads(T0)
    state.resolved(feed, stage.broker.log("c").read(request))
    assert all(state.ready(reader.follower) for reader in readers)
    assert state.reads(T0) == []
