"""Clients that resume together get what each would have got by itself, and stand where it would: two hubs, one history."""

from __future__ import annotations

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.hub.two_hubs import Stage

STEPS = [
    *["publish"] * 3, "publish_others", "publish_ephemerals", "publish_ephemerals", "end", "trim", "wipe", "fail_over", "poison",
    "hear", "lose", "confirm", "confirm", "ask", "answer", "fail", "check", "evict",
    *["settle"] * 6, *["come"] * 4, "come_anew", *["come_again"] * 8, "come_full", "come_unheard", *["come_meanwhile"] * 3,
    "leave", "fill", "free", "free_all",
]  # fmt: skip


Step = tuple[str, int]
BEHIND: list[Step] = [("come", 17), ("settle", 0), *[("publish", 2)] * 3, ("come", 4), ("come_again", 6)]


@settings(max_examples=300, deadline=None)
@given(
    windows_bytes=st.sampled_from([10**9, 10**9, 3000, 0]),
    channels=st.integers(1, 2),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 59)), min_size=5, max_size=60),
)
def test_who_resumes_together_gets_what_each_would_get_alone(
    windows_bytes: int, channels: int, steps: list[Step]
) -> None:
    stage = Stage(windows_bytes, channels)
    for step, number in [("publish", 5), ("come", 0), ("settle", 0), *steps]:
        stage.do(step, number)
    for step in ("confirm", "free_all", "settle", "check", "settle", "come_again", "settle"):
        stage.do(step, 1)
    event(f"{min(stage.resumed, 5)} or more resumed together")


@pytest.mark.parametrize(
    ("steps", "resumed"),
    [
        pytest.param([], 2, id="behind"),
        pytest.param([("come_again", 0)], 3, id="the same request in another object"),
        pytest.param([("publish", 2), ("come_again", 6)], 3, id="and what came since"),
        pytest.param([("come_full", 6), ("come_full", 6), ("publish", 2), ("free_all", 0)], 4, id="each from its copy"),
        pytest.param([("come", 3), ("come", 20), ("come", 3)], 4, id="hidden entries"),
        pytest.param([("evict", 59), ("come_again", 6)], 2, id="but not what the window has given up"),
        pytest.param([("lose", 0), ("come_again", 6)], 2, id="nor while the link is away"),
        pytest.param([("come_anew", 0)], 2, id="nor by a start word"),
        pytest.param([("come", 12)], 2, id="nor by a policy of its own"),
        pytest.param([("come_unheard", 6)], 2, id="nor ahead of what the shared readers have not seen yet"),
        pytest.param([*[("publish", 47)] * 3, ("come", 16), ("come_again", 6)], 2, id="nor with more than one write"),
        pytest.param(
            [("come", 0), ("publish", 13), ("publish_others", 11), ("come", 63)],
            2,
            id="nor with hidden ones to be told of",
        ),
    ],
)
def test_who_resumes_together(steps: list[Step], resumed: int) -> None:
    stage = Stage(channels=1)
    for step, number in [*BEHIND, *steps]:
        stage.do(step, number)
    assert stage.resumed == resumed


def test_what_a_page_brings_for_one_lets_the_next_one_resume() -> None:
    """The window begins at the head, where the first reader came; the second one, behind it, has the log read."""
    stage = Stage(channels=1)
    for step, number in [*[("publish", 2)] * 3, ("come", 17), ("settle", 0), ("come", 4)]:
        stage.do(step, number)
    assert stage.resumed == 0
    for step, number in [("settle", 0), ("come_again", 6)]:
        stage.do(step, number)
    assert stage.resumed == 1


@pytest.mark.parametrize("number", [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
def test_what_happens_during_the_first_write(number: int) -> None:
    stage = Stage(channels=1)
    for step, argument in [*BEHIND, ("come_meanwhile", number), ("publish", 2), ("free_all", 0), ("settle", 0)]:
        stage.do(step, argument)
    assert stage.resumed == 3


@pytest.mark.parametrize("read", [True, False])
def test_a_resumption_from_a_lost_log_is_not_believed(read: bool) -> None:
    """The bytes for that very request are in the cache, and the window holds what follows its id, when the log begins anew.

    A hub that has not read the loss yet gives what it has of the lost life, and the gap behind it; nothing after that.
    """
    stage = Stage(channels=1)
    for step, number in BEHIND:
        stage.do(step, number)
    lost = b"-%b-" % stage.broker.log("a").epoch
    assert stage.resumed == 2
    for step, number in [("wipe", 0), ("publish", 2), *[("settle", 0)] * read, ("come_again", 6), ("settle", 0)]:
        stage.do(step, number)
    assert stage.resumed == 2
    opening, *frames = stage.hubs[1].clients[-1].written.split(b"\n\n")[:-1]
    assert lost in opening, "its own id, which the gap follows"
    [gap] = [number for number, frame in enumerate(frames) if b'"reason":"epoch"' in frame]
    assert [lost in frame for frame in frames[:gap]] == [True] * (0 if read else 4)
    assert [lost in frame for frame in frames[gap:]] == [False] * 4
