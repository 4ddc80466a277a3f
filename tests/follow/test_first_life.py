"""A channel without entries: nothing is kept of it, and who stands there takes its first life whole, from offset 1."""

from __future__ import annotations

from typing import Any

import pytest

from sse_bridge.config import Policy
from sse_bridge.events import NO_EPOCH, Entry, channel_key
from sse_bridge.follow.subscribe_request import make_request
from sse_bridge.hub.state import HubState
from tests.follow.model import SETTINGS, T0, Broker, CheckingReader, announce, settle
from tests.follow.stage import subscribe

NAME = "c"
AT_NOTHING = f"{channel_key(NAME).decode()}-0-0-0"


class Scene:
    """A reader that stands at the head of a channel to which nothing was published yet."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.state = HubState(SETTINGS)
        self.reader = self.enter()
        subscribe(self.state)
        self.state.confirmed(NAME)
        settle(self.broker, self.state, [self.reader])
        assert self.reader.last_id == AT_NOTHING

    def enter(self, **options: Any) -> CheckingReader:
        return CheckingReader(self.broker, self.state, [NAME], **options)

    def publish(self, count: int, *, heard: bool = True, with_copy: bool = True) -> list[Entry]:
        log = self.broker.log(NAME)
        entries = []
        for _ in range(count):
            entries.append(log.append())
            if heard:
                announce(self.state, NAME, log, entries[-1:], with_copy=with_copy)
        self.state.changed()
        self.state.cache.clear()
        return entries

    def seen(self, reader: CheckingReader) -> list[int]:
        return [offset for _, offset, _ in reader.seen[NAME]]


def test_the_first_entry_needs_no_read() -> None:
    scene = Scene()
    scene.publish(3)
    assert scene.state.reads(T0) == []
    assert scene.reader.pull(10_000)
    assert scene.seen(scene.reader) == [1, 2, 3]
    settle(scene.broker, scene.state, [scene.reader])
    scene.reader.check_settled()
    assert scene.reader.gaps[NAME] == 0


@pytest.mark.parametrize("how", ["too large to travel", "not heard", "heard while the link was away"])
def test_a_first_entry_that_must_be_read_makes_no_gap(how: str) -> None:
    scene = Scene()
    if how == "too large to travel":
        scene.publish(2, with_copy=False)
    else:
        if how == "heard while the link was away":
            scene.state.lost(None)
        scene.publish(2, heard=False)
        scene.state.confirmed(NAME)
    settle(scene.broker, scene.state, [scene.reader])
    assert (scene.seen(scene.reader), scene.reader.gaps[NAME]) == ([1, 2], 0)
    scene.reader.check_settled()


def test_ephemeral_events_before_the_first_entry_are_delivered_in_their_place() -> None:
    scene = Scene()
    log = scene.broker.log(NAME)
    announce(scene.state, NAME, log, [log.ephemeral(), log.ephemeral()])
    assert scene.state.reads(T0) == []
    batch = scene.state.pull(scene.reader.follower, 10_000)
    assert batch is not None
    assert [delivery.id for delivery in batch.deliveries] == [None, None]
    scene.publish(40)
    announce(scene.state, NAME, log, [log.ephemeral()])
    batch = scene.state.pull(scene.reader.follower, 1_000_000)
    assert batch is not None
    assert [delivery.entry.offset for delivery in batch.deliveries if delivery.entry] == [*range(1, 41), 40]


def test_an_id_from_before_the_first_entry_resumes_from_offset_1_everywhere() -> None:
    scene = Scene()
    scene.reader.leave()
    scene.publish(5)
    assert scene.state.reads(T0) == []
    same_process = scene.enter(after=AT_NOTHING)
    settle(scene.broker, scene.state, [same_process])
    other = Scene()
    other.broker = scene.broker
    other.state.confirmed(NAME)
    other_process = other.enter(after=AT_NOTHING)
    settle(other.broker, other.state, [other_process])
    for reader in (same_process, other_process):
        assert ([offset for _, offset, _ in reader.seen[NAME]], reader.gaps[NAME]) == ([1, 2, 3, 4, 5], 0)


def test_what_was_trimmed_meanwhile_is_told_with_its_number_where_it_is_known() -> None:
    scene = Scene()
    scene.publish(SETTINGS.replay_size + 10)
    scene.state.pull(scene.reader.follower, 1)
    late = scene.enter(after=AT_NOTHING)
    settle(scene.broker, scene.state, [late])
    assert late.gaps[NAME] <= 1
    assert scene.seen(late)[-1] == SETTINGS.replay_size + 10


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "latest_only"])
def test_policies_move_a_reader_that_stood_before_the_first_entry(policy: Policy) -> None:
    scene = Scene()
    request = make_request(SETTINGS, NAME, policy=policy, queue_size=3)
    reader = scene.enter()
    reader.leave()
    reader.follower = scene.state.follower(request)
    scene.state.join(reader)
    assert not scene.state.ready(reader.follower)
    settle(scene.broker, scene.state, [])
    assert scene.state.ready(reader.follower)
    assert scene.state.pull(reader.follower, 1) is None
    scene.publish(20)
    assert reader.follower.behind == 20
    batch = scene.state.pull(reader.follower, 10_000)
    assert batch is not None
    while more := scene.state.pull(reader.follower, 10_000):
        batch.deliveries.extend(more.deliveries)
    gap = next(delivery.gap for delivery in batch.deliveries if delivery.gap is not None)
    told = [delivery.entry.offset for delivery in batch.deliveries if delivery.entry is not None]
    assert (gap.reason, gap.missed, gap.missed == reader.follower.dropped) == ("slow", 20 - len(told), True)
    assert 0 < len(told) <= 3


def test_a_lost_log_is_one_gap_and_then_the_next_life_none() -> None:
    scene = Scene()
    scene.publish(3)
    settle(scene.broker, scene.state, [scene.reader])
    scene.broker.flush(NAME)
    scene.state.confirmed(NAME)
    settle(scene.broker, scene.state, [scene.reader])
    at = scene.reader.at[NAME]
    assert at is not None
    assert (at.epoch, scene.reader.gaps[NAME]) == (NO_EPOCH, 1)
    scene.publish(2)
    settle(scene.broker, scene.state, [scene.reader])
    assert (scene.seen(scene.reader), scene.reader.gaps[NAME]) == ([1, 2, 3, 1, 2], 1)
    scene.reader.check_settled()
