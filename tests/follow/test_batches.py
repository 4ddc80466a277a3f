"""What one pull brings: bounded writes however many channels there are, and shared batches that do not pile up."""

from __future__ import annotations

from sse_bridge.config import Settings
from sse_bridge.filters import Where
from sse_bridge.follow.batch import CACHED_BATCHES, Batch
from sse_bridge.follow.subscribe_request import make_request
from sse_bridge.hub.state import HubState
from sse_bridge.streams.channels.script import payload
from sse_bridge.wire.sse import SSE_FORMAT
from tests.follow.model import T0, Broker, CheckingReader, settle
from tests.follow.stage import subscribe

MAX_BYTES = 65_536


def filled(channels: int, entries: int, size: int) -> tuple[Broker, HubState, CheckingReader]:
    """A hub state whose windows hold everything."""
    broker, state = Broker(), HubState(Settings(max_channels=80))
    names = [f"c{n}" for n in range(channels)]
    for name in names:
        for _ in range(entries):
            broker.log(name).append(size=size)
    reader = CheckingReader(broker, state, names, start="earliest")
    for name in subscribe(state):
        state.confirmed(name)
    settle(broker, state, [reader])
    return broker, state, reader


def pulls(state: HubState, broker: Broker, names: list[str]) -> list[Batch]:
    wanted = make_request(Settings(max_channels=80), names, after="earliest")
    follower = state.follower(wanted)
    batches = []
    for _ in range(10_000):
        batch = state.pull(follower, MAX_BYTES)
        if batch is not None:
            batches.append(batch)
            continue
        due = state.reads(T0)
        if not due:
            break
        for feed, request in due:
            state.resolved(feed, broker.log(feed.channel).read(request))
    return batches


def test_a_write_is_bounded_however_many_channels_there_are() -> None:
    for channels, size in ((1, 1000), (20, 1000), (20, 1), (80, 1)):
        broker, state, reader = filled(channels, 30, size)
        batches = pulls(state, broker, reader.channels)
        assert sum(len(batch.deliveries) for batch in batches) == channels * 30
        assert max(len(payload(SSE_FORMAT, batch)) for batch in batches) <= MAX_BYTES


def test_one_busy_channel_among_many_fills_its_writes() -> None:
    broker, state, reader = filled(20, 0, 0)
    for _ in range(40):
        broker.log("c7").append(size=1000)
    state.check_some(T0)
    settle(broker, state, [reader])
    assert len(pulls(state, broker, reader.channels)) <= 6  # pages of the model's log hold seven


def test_batches_of_readers_in_many_places_do_not_pile_up() -> None:
    _, state, reader = filled(1, 30, 10)
    for n in range(2 * CACHED_BATCHES):  # nothing changes, so nothing becomes invalid
        wanted = make_request(Settings(), reader.channels, last=2, filter=Where(lambda event, n=n: n >= 0))
        follower = state.follower(wanted)
        while state.pull(follower, 1) is not None:
            assert len(state.cache.batches) <= CACHED_BATCHES


def test_a_filter_is_not_asked_about_the_end() -> None:
    broker, state, reader = filled(1, 0, 0)
    asked: list[str] = []
    wanted = make_request(Settings(), "c0", filter=Where(lambda event: bool(asked.append(event.type))))
    follower = state.follower(wanted)
    assert state.pull(follower, MAX_BYTES) is None
    settle(broker, state, [reader])
    broker.log("c0").append("stream.end")
    state.check_some(T0)
    settle(broker, state, [reader])
    batch = state.pull(follower, MAX_BYTES)
    assert batch is not None
    assert [delivery.entry and delivery.entry.type for delivery in batch.deliveries] == ["stream.end"]
    assert asked == []
