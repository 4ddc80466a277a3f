"""What a reader behind the window keeps of the log's pages while its client takes nothing, and what it reads for that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.config import Settings
from sse_bridge.events import Entry
from sse_bridge.follow.follower import Follower
from sse_bridge.follow.kept import FRAME_OVERHEAD
from sse_bridge.follow.subscribe_request import make_request
from sse_bridge.hub.state import HubState
from sse_bridge.records.continuity import PAGE_BYTES, Page, ReadRequest

from .model import id_of
from .stage import subscribe
from .test_continuity import chain

WRITE = 4096  # the setting max_write_bytes
FRAME = 400 + FRAME_OVERHEAD
SETTINGS = Settings(max_write_bytes=WRITE, window_bytes=4096)
LOG = [
    Entry(e.epoch, e.offset, e.prev, e.check, 0, "u", "J", "t", b"1" * 400) for e in chain(1, 600)
]  # of each channel the same


def page_of(request: ReadRequest) -> Page:
    """As a broker answers: from `offset` on, at most `limit` entries, no more once they exceed `max_bytes`."""
    start = request.offset + 1 if request.offset >= 0 else len(LOG) + request.offset + 1
    end, size = start - 1, 0
    while end < len(LOG) and end - start + 1 < request.limit and size <= request.max_bytes:
        size += len(LOG[end].data)
        end += 1
    found = LOG[start - 1 : end] if request.limit else []
    return Page(LOG[0].epoch, len(LOG), LOG[-1].check, False, 1, start, found, end < len(LOG))


class Stage:
    """A hub state whose reads are answered when the test says so."""

    def __init__(self) -> None:
        self.state = HubState(SETTINGS)
        self.asked: list[ReadRequest] = []

    def enter(self, *channels: str, last: int | None = None, after: str | None = None) -> Follower:
        follower = self.state.follower(make_request(SETTINGS, channels, last=last, after=after))
        for channel in subscribe(self.state):
            self.state.confirmed(channel)
        self.state.ready(follower)
        return follower

    def read(self, count: int = 1000) -> None:
        due = self.state.reads(0)
        self.asked += [request for _, request in due]
        for feed, request in due[:count]:
            self.state.resolved(feed, page_of(request))
        self.state.failed([feed for feed, _ in due[count:]], -1000)
        self.state.changed()


def kept(follower: Follower) -> int:
    return sum([cursor.kept_bytes for cursor in follower.cursors])


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), max_size=60),
)
def test_a_reader_keeps_what_it_can_write_at_once(channels: int, steps: list[tuple[int, int]]) -> None:
    stage = Stage()
    follower = stage.enter(*[f"c{n}" for n in range(channels)], last=500)
    for pulls, reads in steps:
        for _ in range(pulls):
            stage.state.pull(follower, WRITE)
        stage.read(reads)
        assert kept(follower) <= max(WRITE, channels * FRAME)


def test_it_is_told_everything_all_the_same() -> None:
    stage = Stage()
    follower = stage.enter("a", "b", "c", last=500)
    offsets: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for _ in range(1000):
        while (batch := stage.state.pull(follower, WRITE)) is not None:
            for delivery in batch.deliveries:
                assert delivery.entry is not None
                offsets[delivery.channel].append(delivery.entry.offset)
        stage.read()
    assert all(seen == list(range(101, 601)) for seen in offsets.values())


def test_a_page_for_one_reader_far_behind_is_as_large_as_what_it_keeps() -> None:
    stage = Stage()
    first = stage.enter("a", last=1)
    stage.read()
    assert stage.state.pull(first, WRITE) is not None
    lone = stage.enter("a", last=500)
    stage.read()
    assert stage.asked[-1].max_bytes == WRITE
    while stage.state.pull(lone, WRITE) is not None:
        pass
    assert kept(lone) == 0
    stage.enter("a", last=450)
    stage.read()
    assert stage.asked[-1].max_bytes == PAGE_BYTES, "two readers in two places share it"


def test_one_channel_that_is_behind_fills_the_writes_of_many_that_are_not() -> None:
    stage = Stage()
    follower = stage.enter(*[f"c{n}" for n in range(20)], after=id_of("c7", LOG[99]))
    sizes = []
    for _ in range(200):
        while (batch := stage.state.pull(follower, WRITE)) is not None:
            sizes.append(len(batch.deliveries))
        stage.read()
    assert sum(sizes) == 500
    assert len(sizes) < 250, "its frames, which hold the id of all twenty, come three at a time"
