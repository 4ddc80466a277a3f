"""A window that gives way at any moment: its serials never mean another entry, and what it proves stays true."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_bridge.config import Policy
from sse_bridge.events import Entry
from sse_bridge.follow.window import Window
from sse_bridge.records.continuity import Point, point_of
from tests.follow.test_restarts import NAME, Scene

from .test_continuity import EPOCH
from .test_window import filled

STEPS = st.one_of(
    st.tuples(st.just("push"), st.integers(1, 60)),
    st.tuples(st.just("ephemeral"), st.integers(1, 3)),
    st.tuples(st.just("below"), st.integers(1, 80)),
    st.tuples(st.sampled_from(["evict", "evict but the newest"]), st.integers(1, 4000)),
    st.tuples(st.just("restart"), st.integers(1, 5)),
)


class Model:
    """A window, every entry that it ever was given by serial, and the whole history behind it."""

    def __init__(self) -> None:
        self.window = Window(Point(EPOCH, 100, b"x100"), 6000)
        self.history = {n: stored(n, f"x{n - 1}".encode()) for n in range(1, 101)}
        self.by_serial: dict[int, Entry] = {}

    def push(self, entry: Entry) -> None:
        self.by_serial[self.window.end_serial] = entry
        self.window.push(entry)
        if entry.stored:
            self.history[entry.offset] = entry

    def put_below(self, count: int) -> None:
        base = self.window.base.offset
        before = self.window.first_serial
        self.window.extend_down([self.history[n] for n in range(max(1, base - count + 1), base + 1)])
        for serial, n in zip(
            range(self.window.first_serial, before), range(self.window.base.offset + 1, base + 1), strict=True
        ):
            assert self.by_serial.setdefault(serial, self.history[n]) is self.history[n], (
                "the serial was another entry's"
            )


def stored(offset: int, prev: bytes) -> Entry:
    return Entry(EPOCH, offset, prev, f"x{offset}".encode(), 0, "umi"[offset % 3], "J", "t", b"1" * (offset % 7 * 20))


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=300, deadline=None)
def test_serials_and_proofs_stay_what_they_were(steps: list[tuple[str, int]]) -> None:
    model = Model()
    window = model.window
    for step, number in steps:
        head = window.head
        if step == "push":
            for offset in range(head.offset + 1, head.offset + number + 1):
                model.push(stored(offset, window.head.check))
        elif step == "ephemeral":
            for _ in range(number):
                model.push(Entry(EPOCH, head.offset, head.check, b"e", 0, "l", "J", "t", b"", stored=False))
        elif step == "below":
            model.put_below(number)
        elif step == "restart":
            for offset in range(head.offset + 1, head.offset + number + 1):
                model.history[offset] = stored(offset, f"x{offset - 1}".encode())
            window.restart(point_of(model.history[head.offset + number]))
        else:
            before = window.size
            window.give_way(number, but_newest=step == "evict but the newest")
            assert window.size <= max(0, before - number) or (step != "evict" and len(window.items) <= 1)

        found = list(window.items.since(window.first_serial))
        assert len(found) == window.end_serial - window.first_serial
        for serial, entry in enumerate(found, window.first_serial):
            known = model.by_serial[serial]
            assert (entry.offset, entry.check, entry.stored) == (known.offset, known.check, known.stored)
        assert window.head.check == model.history[window.head.offset].check
        assert window.locate(window.head) == window.end_serial
        for offset in range(1, window.head.offset + 1):
            entry = model.history[offset]
            assert window.remembers(entry) is not False
            point = window.point_at(offset)
            assert (point is None) == (window.remembers(entry) is None)
            assert point is None or point_of(point) == point_of(entry)
            place = window.locate(entry)
            if place is not None and place < window.end_serial:
                following = next(e for e in window.items.since(place) if e.stored)
                assert following.offset == offset + 1
            missed = window.missed(entry, window.head.offset)
            if missed is not None:
                assert missed == [model.history[n].visibility for n in range(offset + 1, window.head.offset + 1)]


def test_a_window_without_an_item_goes_on_at_its_head() -> None:
    window = filled(5)
    window.give_way(10**9)
    assert (len(window.items), window.size) == (0, 0)
    assert type(window.head) is Point, "an entry would be kept for its position"
    assert window.first_serial == window.end_serial == 5
    assert window.locate(Point(EPOCH, 5, b"x5")) == 5
    window.push(stored(6, b"x5"))
    assert window.locate(Point(EPOCH, 5, b"x5")) == 5
    assert window.locate(Point(EPOCH, 6, b"x6")) == 6


def test_a_reader_that_slept_through_an_eviction_gets_everything_and_no_gap() -> None:
    scene = Scene()
    asleep = scene.reader
    scene.publish(10)
    scene.state.feeds[NAME].give_way(10**9)
    scene.publish(1)
    scene.settle(asleep)
    assert [offset for _, offset, _ in asleep.seen[NAME]] == list(range(1, 32))
    assert asleep.gaps[NAME] == 0


@pytest.mark.parametrize(("policy", "kept"), [("drop_oldest", 5), ("latest_only", 1)])
@pytest.mark.parametrize("evicted", [True, False])
def test_a_policy_skips_no_more_where_the_window_gave_way(policy: Policy, kept: int, evicted: bool) -> None:
    scene = Scene()
    slow = scene.enter(policy=policy, queue_size=5)
    scene.settle(slow)
    scene.publish(15)
    scene.state.feeds[NAME].give_way(scene.state.feeds[NAME].size - 100 * evicted)
    scene.settle(slow)
    assert [offset for _, offset, _ in slow.seen[NAME]] == list(range(36 - kept, 36))
    assert slow.follower.dropped == 15 - kept


def test_a_policy_skips_where_the_log_has_trimmed_past_its_place() -> None:
    scene = Scene()
    slow = scene.enter(policy="drop_oldest", queue_size=12)
    scene.settle(slow)
    scene.publish(15)
    scene.state.feeds[NAME].give_way(10**9)
    scene.broker.trim(NAME, 30)
    scene.settle(slow)
    assert [offset for _, offset, _ in slow.seen[NAME]] == list(range(31, 36))
    assert slow.follower.dropped == 10


def test_a_policy_whose_log_has_become_shorter_is_told_of_that() -> None:
    """The window believes in a head that a failover threw away, and has forgotten the way there."""
    scene = Scene()
    slow = scene.enter(policy="latest_only")
    scene.settle(slow)
    scene.publish(15)
    scene.state.feeds[NAME].give_way(10**9)
    scene.broker.fail_over(NAME, 17)
    scene.settle(slow)
    slow.check_settled()
    assert slow.gaps[NAME] == 1


def test_an_evicted_window_fills_again_for_those_who_come_back() -> None:
    scene = Scene()
    scene.state.feeds[NAME].give_way(10**9)
    first = scene.enter(after=scene.ids[14])
    scene.settle(first)
    second = scene.enter(after=scene.ids[16])
    assert scene.state.ready(second.follower)
    while second.pull(10_000):
        pass
    assert [offset for _, offset, _ in second.seen[NAME]] == list(range(17, 21))
    assert not scene.state.reads(10**9), "nobody reads the log for it"
