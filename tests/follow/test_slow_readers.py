"""Readers that their policy moves, while answers to reads are under way: each answer is judged by what was asked for it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.follow.stage import POLICIES, Stage

NAME = "c"
ENTRY_BYTES = 600  # a window of 4 KiB holds fewer than a queue
STEPS = st.one_of(
    st.tuples(st.just("publish_now"), st.integers(1, 14)),
    st.tuples(st.sampled_from(["pull", "pull", "pull_one"]), st.integers(0, 7)),
    st.tuples(st.sampled_from(["ask", "ask", "answer", "answer", "fail"]), st.just(0)),
    st.tuples(
        st.sampled_from(["join", "leave", "come_back", "cut", "check", "lose", "trim", "flush", "evict"]),
        st.integers(0, 7),
    ),
)


class Crowd(Stage):
    """One channel, and a reader of each policy that stands at its head."""

    def __init__(self, queue_size: int) -> None:
        super().__init__([NAME], entry_bytes=ENTRY_BYTES, queue_size=queue_size)
        for policy in POLICIES:
            self.enter(policy=policy)
        self.settle()

    def publish_now(self, count: int) -> None:
        self.publish(count)
        self.hear(count)


def test_an_answer_from_before_a_skip_is_not_for_who_skipped() -> None:
    crowd = Crowd(queue_size=12)
    crowd.publish_now(3)
    crowd.settle()
    reader = crowd.readers[POLICIES.index("drop_oldest")]
    crowd.publish_now(11)
    assert not reader.pull(10_000), "the window has evicted past it, so it waits"
    crowd.ask(0)
    crowd.publish_now(14)
    assert reader.pull(10_000), "its policy moves it on, past the log's end in the answer under way"
    crowd.answer(0)
    crowd.settle()
    assert [offset for _, offset, _ in reader.seen[NAME]][-1] == 28
    assert reader.gaps[NAME] == 0


@given(steps=st.lists(STEPS, min_size=8, max_size=60), queue_size=st.sampled_from([1, 5, 12]))
@settings(max_examples=300, deadline=None)
def test_no_answer_is_judged_by_what_it_was_not_asked(steps: list[tuple[str, int]], queue_size: int) -> None:
    """Skips, trims, new lives, joins and leaves, with the answers late: nobody goes back, and no gap is without cause."""
    crowd = Crowd(queue_size)
    for step, number in steps:
        crowd.do(step, number)
    crowd.finish()
