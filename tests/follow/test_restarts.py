"""A window that restarts behind a hole: readers that were in it are judged by their own position, and told the right reason."""

from __future__ import annotations

from typing import Any

from sse_bridge.events import Entry
from sse_bridge.hub.state import HubState
from sse_bridge.records.continuity import Gap
from tests.follow.model import SETTINGS, Broker, CheckingReader, announce, id_of, settle
from tests.follow.stage import subscribe

NAME = "c"


class Scene:
    """One channel with 20 entries, and a reader that stands at its head."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.log = self.broker.log(NAME)
        self.state = HubState(SETTINGS)
        self.reader = self.enter(start="earliest")
        subscribe(self.state)
        self.state.confirmed(NAME)
        self.publish(20)
        self.settle(self.reader)
        self.ids = {entry.offset: self.id_of(entry) for entry in self.log.chain.values()}

    def enter(self, **options: Any) -> CheckingReader:
        return CheckingReader(self.broker, self.state, [NAME], **options)

    def id_of(self, entry: Entry) -> str:
        return id_of(NAME, entry)

    def publish(self, count: int, *, heard: bool = True) -> None:
        for _ in range(count):
            entry = self.log.append()
            if heard:
                announce(self.state, NAME, self.log, [entry])
        self.state.changed()
        self.state.cache.clear()

    def settle(self, *readers: CheckingReader) -> None:
        settle(self.broker, self.state, list(readers))

    def lost_link(self) -> None:
        self.state.lost([NAME])
        self.state.changed()

    def link(self) -> None:
        self.state.confirmed(NAME)
        self.state.changed()

    def gap_of(self, reader: CheckingReader) -> Gap:
        """What the reader is told next, which must be a gap; it may have to wait for a page of the log first."""
        batch = self.state.pull(reader.follower, 10_000)
        if batch is None:
            self.settle()
            batch = reader.follower.pull(self.state.cache, 10_000)
        assert batch is not None
        gap = batch.deliveries[0].gap
        assert gap is not None, batch.deliveries[0]
        return gap


def test_a_reader_that_slept_through_a_failover_is_told_of_it() -> None:
    scene = Scene()
    asleep = scene.reader  # its client reads nothing, so it does not look at the window meanwhile
    scene.broker.fail_over(NAME, 5)
    scene.publish(8)
    scene.settle()
    # Somebody else reads what now leads up to the window's base, and puts it in front.
    other = scene.enter(after=scene.ids[13])
    scene.settle(other)
    assert scene.gap_of(asleep).reason == "diverged"


def test_what_was_trimmed_while_the_link_was_lost_is_no_fault_of_the_reader() -> None:
    scene = Scene()
    scene.lost_link()
    scene.publish(SETTINGS.replay_size + 10, heard=False)
    scene.link()
    scene.settle()
    assert scene.gap_of(scene.reader).reason == "trimmed"


def test_a_reader_behind_both_window_and_log_is_slow() -> None:
    scene = Scene()
    scene.publish(SETTINGS.replay_size + 10)
    gap = scene.gap_of(scene.reader)
    assert (gap.reason, gap.missed) == ("slow", 10)
