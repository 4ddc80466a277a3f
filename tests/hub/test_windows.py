"""The windows of a process within one budget: who gives way, who does not notice, and what several hubs may hold."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_bridge import Bridge
from sse_bridge.config import Settings
from sse_bridge.follow.feed import Feed
from sse_bridge.hub import windows
from sse_bridge.hub.state import HubState
from sse_bridge.hub.windows import WindowBudget
from tests.follow.model import Broker, CheckingReader, announce, settle
from tests.follow.stage import subscribe
from tests.support.wait import await_for

SETTINGS = Settings(window_bytes=2**20, max_channels=80, linger_seconds=5)
ENTRY = 1000  # bytes of data; a record takes a little more, the newest of a window three times as much


def used(budget: WindowBudget) -> int:
    """The bytes that all windows hold, roughly."""
    return sum([windows.used for windows in budget._hubs.values()])


class Hub:
    """One hub's state, and a reader on each channel."""

    def __init__(self, budget: WindowBudget, channels: int) -> None:
        self.broker = Broker()
        self.state = HubState(SETTINGS, budget=budget)
        self.readers = [CheckingReader(self.broker, self.state, [f"c{n}"]) for n in range(channels)]
        for name in subscribe(self.state):
            self.state.confirmed(name)
        settle(self.broker, self.state, self.readers)

    def feed(self, number: int) -> Feed:
        return self.state.feeds[f"c{number}"]

    def publish(self, *numbers: int, count: int = 1, size: int = ENTRY, pull: bool = True) -> None:
        """All in one pass of the hub."""
        for number in numbers:
            log = self.broker.log(f"c{number}")
            for _ in range(count):
                announce(self.state, f"c{number}", log, [log.append(size=size)])
        for reader in self.state.changed():
            while pull and isinstance(reader, CheckingReader) and reader.pull(2**20):
                pass

    def items(self) -> list[int]:
        return [len(feed.window.items) for feed in self.state.feeds.values() if feed.window is not None]

    def settle(self) -> None:
        settle(self.broker, self.state, self.readers)
        for reader in self.readers:
            reader.check_settled()


def test_the_windows_that_were_not_read_for_the_longest_give_way() -> None:
    budget = WindowBudget(2**30)
    hub = Hub(budget, 10)
    for number in range(10):
        hub.publish(number, count=20)
    CheckingReader(hub.broker, hub.state, ["c0"])  # somebody comes to it: that is a look too
    full = hub.feed(5).size
    assert hub.state.windows.used == used(budget) == 10 * full
    budget._max_bytes = budget.part = 7 * full
    hub.publish(4)
    assert [number for number, count in enumerate(hub.items()) if count < 20] == [1, 2, 3, 5]
    assert hub.items()[5] > 0, "no more goes than is needed"
    assert used(budget) <= 7 * full
    hub.settle()
    assert all(reader.gaps == {f"c{n}": 0} for n, reader in enumerate(hub.readers))


@given(
    st.integers(0, 60_000),
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 12), st.booleans(), st.integers(0, 4000)), max_size=25),
)
@settings(max_examples=150, deadline=None)
def test_no_more_is_held_than_was_granted(most: int, steps: list[tuple[int, int, bool, int]]) -> None:
    budget = WindowBudget(most)
    hub = Hub(budget, 6)
    for number, count, pull, size in steps:
        hub.publish(number, count=count, size=size, pull=pull)
        assert used(budget) == sum([feed.size for feed in hub.state.feeds.values()])
        newest = hub.feed(number)
        assert newest.window is not None
        assert used(budget) <= most or (used(budget) == newest.size and len(newest.window.items) == 1)
    hub.settle()


def test_what_has_just_come_stays_for_those_who_take_it_now() -> None:
    hub = Hub(WindowBudget(0), 2)
    hub.publish(0, pull=False)
    assert hub.items() == [1, 0]
    while hub.readers[0].pull(2**20):
        pass
    assert len(hub.readers[0].seen["c0"]) == 1
    hub.publish(1)
    assert hub.items() == [0, 1]


def test_a_cursor_keeps_no_entry_that_its_window_gave_up() -> None:
    hub = Hub(WindowBudget(0), 2)
    cursor = hub.readers[0].follower.cursors[0]
    hub.publish(0, pull=False)
    hub.readers[0].follower.flow(2**20, lambda channel, entry, id: b"")
    assert cursor.point is hub.feed(0).window.items.tail[-1]  # type: ignore[union-attr]
    hub.publish(1)
    assert not hasattr(cursor.point, "data")
    hub.settle()


def test_live_messages_that_are_kept_aside_count_and_give_way() -> None:
    budget = WindowBudget(20 * ENTRY)
    hub = Hub(budget, 2)
    hub.state.check_some(1000)
    ((feed, request), *_) = hub.state.reads(1000)
    page = hub.broker.log(feed.channel).read(request)
    log = hub.broker.log(feed.channel)
    for _ in range(30):
        announce(hub.state, feed.channel, log, [log.append(size=ENTRY)])
        hub.state.changed()
        assert used(budget) <= 20 * ENTRY
    hub.state.resolved(feed, page)
    hub.settle()
    assert len(hub.readers[int(feed.channel[1:])].seen[feed.channel]) == 30


def test_channels_that_nobody_follows_any_more_count_no_more() -> None:
    budget = WindowBudget(2**30)
    hub = Hub(budget, 3)
    hub.publish(0, 1, 2, count=20)
    for reader in hub.readers:
        hub.state.leave(reader, 0)
    assert len(hub.state.unsubscribes(100)) == 3
    assert used(budget) == 0


def test_a_hub_may_use_what_the_others_leave() -> None:
    budget = WindowBudget(60 * ENTRY)
    busy, quiet = Hub(budget, 5), Hub(budget, 5)
    busy.publish(*range(5), count=8)
    assert min(busy.items()) == 8
    assert used(budget) > 45 * ENTRY
    quiet.publish(*range(5), count=3)
    assert min(quiet.items()) == 3, "it is below its part, so the other one gives way"
    busy.state.check_some(0)
    assert used(budget) <= 60 * ENTRY
    assert min(quiet.items()) == 3
    quiet.publish(*range(5), count=9)
    busy.state.check_some(0)
    quiet.state.check_some(0)
    assert used(budget) <= 60 * ENTRY
    assert busy.state.windows.used + quiet.state.windows.used == used(budget)
    for hub in (busy, quiet):
        hub.settle()
    del busy, hub
    gc.collect()
    quiet.publish(*range(5), count=9)
    assert quiet.state.windows.used > 30 * ENTRY, "what it has is the whole again"


def test_making_room_costs_what_is_given_up_and_not_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = WindowBudget(2**30)
    hub = Hub(budget, 300)
    hub.publish(*range(300), count=5)
    budget._max_bytes = budget.part = used(budget)
    looks: list[int] = []
    monkeypatch.setattr(windows, "_read_at", lambda feed: looks.append(1) or feed.read_at)
    for _ in range(200):
        hub.publish(7)
    assert len(looks) <= 2 * 300
    assert used(budget) <= budget._max_bytes
    hub.settle()


async def test_all_hubs_of_a_bridge_share_its_budget() -> None:
    async with Bridge("memory://") as bridge:
        with_loop = bridge.loop_hub()
        assert with_loop.state.windows.budget is bridge.thread_hub().state.windows.budget is bridge.windows
        async with bridge.asubscribe("a") as stream:
            await stream.wait_ready(60)
            await bridge.apublish("a", "x" * 1000)
            assert await stream.next(60) is not None
            await await_for(lambda: used(bridge.windows) > 1000)
