"""What one pull brings: bounded writes however many channels there are, and shared batches that do not pile up."""

from __future__ import annotations

from sse_bridge.config import Settings
from sse_bridge.filters import Where
from sse_bridge.follow.follower import CACHED_BATCHES, Batch
from sse_bridge.follow.wish import make_wish
from sse_bridge.hub.switchboard import Switchboard
from sse_bridge.streams.rendering import payload
from sse_bridge.wire.sse import SSE_FORMAT
from tests.follow.model import T0, Broker, CheckingReader, settle

MAX_BYTES = 65_536


def filled(channels: int, entries: int, size: int) -> tuple[Broker, Switchboard, CheckingReader]:
    """A board whose windows hold everything."""
    broker, board = Broker(), Switchboard(Settings(max_channels=80))
    names = [f"c{n}" for n in range(channels)]
    for name in names:
        for _ in range(entries):
            broker.log(name).append(size=size)
    reader = CheckingReader(broker, board, names, start="earliest")
    for name in board.subscribes():
        board.confirmed(name)
    settle(broker, board, [reader])
    return broker, board, reader


def pulls(board: Switchboard, broker: Broker, names: list[str]) -> list[Batch]:
    wish = make_wish(Settings(max_channels=80), names, after="earliest")
    follower = board.follower(wish)
    batches = []
    for _ in range(10_000):
        batch = board.pull(follower, MAX_BYTES)
        if batch is not None:
            batches.append(batch)
            continue
        due = board.reads(T0)
        if not due:
            break
        for feed, request in due:
            board.resolved(feed, broker.log(feed.channel).read(request))
    return batches


def test_a_write_is_bounded_however_many_channels_there_are() -> None:
    for channels, size in ((1, 1000), (20, 1000), (20, 1), (80, 1)):
        broker, board, reader = filled(channels, 30, size)
        batches = pulls(board, broker, reader.channels)
        assert sum(len(batch.deliveries) for batch in batches) == channels * 30
        assert max(len(payload(SSE_FORMAT, batch)) for batch in batches) <= MAX_BYTES


def test_one_busy_channel_among_many_fills_its_writes() -> None:
    broker, board, reader = filled(20, 0, 0)
    for _ in range(40):
        broker.log("c7").append(size=1000)
    board.check_some(T0)
    settle(broker, board, [reader])
    assert len(pulls(board, broker, reader.channels)) <= 6  # pages of the model's log hold seven


def test_batches_of_readers_in_many_places_do_not_pile_up() -> None:
    _, board, reader = filled(1, 30, 10)
    for n in range(2 * CACHED_BATCHES):  # nothing changes, so nothing becomes invalid
        wish = make_wish(Settings(), reader.channels, last=2, filter=Where(lambda event, n=n: n >= 0))
        follower = board.follower(wish)
        while board.pull(follower, 1) is not None:
            assert len(board.cache.batches) <= CACHED_BATCHES


def test_a_filter_is_not_asked_about_the_end() -> None:
    broker, board, reader = filled(1, 0, 0)
    asked: list[str] = []
    wish = make_wish(Settings(), "c0", filter=Where(lambda event: bool(asked.append(event.type))))
    follower = board.follower(wish)
    assert board.pull(follower, MAX_BYTES) is None
    broker.log("c0").append("stream.end")
    board.check_some(T0)
    settle(broker, board, [reader])
    batch = board.pull(follower, MAX_BYTES)
    assert batch is not None
    assert [delivery.entry and delivery.entry.type for delivery in batch.deliveries] == ["stream.end"]
    assert asked == []
