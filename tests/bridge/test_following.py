"""Reading: order, resume, starts, gaps, ends, filters."""

from __future__ import annotations

import pytest

from sse_bridge import Position
from sse_bridge.errors import (
    ChannelClosed,
    InvalidChannel,
    InvalidInput,
    InvalidPosition,
    TooManyChannels,
)
from sse_bridge.filters import PUBLIC, ByType

from .both import Both, data


def test_what_is_published_is_read_back_in_order(both: Both) -> None:
    stream = both.subscribe("orders:42")
    positions = [both.publish("orders:42", {"n": n}, type="order.paid") for n in range(5)]
    events = [stream.next() for _ in range(5)]
    assert data(events) == [{"n": n} for n in range(5)]
    assert [event.id for event in events] == [str(position) for position in positions]
    assert [event.position for event in events] == positions
    assert {event.type for event in events} == {"order.paid"}
    assert [position.offset for position in positions] == [1, 2, 3, 4, 5]
    assert events[0].published_at.tzinfo is not None
    assert stream.next(0.05) is None
    stream.close()


def test_what_was_published_before_is_not_now(both: Both) -> None:
    """The process follows the channel already, and may not have heard of the newest event yet."""
    there = both.subscribe("a")
    for n in range(40):
        both.publish("a", n)
        late, last = both.subscribe("a"), both.subscribe("a", last=1)
        both.publish("a", "new")
        assert late.next().data == "new"
        assert data([last.next(), last.next()]) == [n, "new"]
        late.close()
        last.close()
    assert data([there.next() for _ in range(80)])[-2:] == [39, "new"]
    there.close()


def test_resume_by_id_and_by_position(both: Both) -> None:
    positions = [both.publish("a", n) for n in range(6)]
    for after in (str(positions[2]), positions[2]):
        stream = both.subscribe("a", after=after)
        assert data([stream.next() for _ in range(3)]) == [3, 4, 5]
        stream.close()


def test_a_streams_id_is_behind_what_was_handed_out(both: Both) -> None:
    """Many events come with one look; whoever keeps the id after each of them resumes behind that one."""
    for n in range(5):
        both.publish("a", n)
    stream = both.subscribe(["a", "b"], after="earliest")
    for n in range(5):
        kept = stream.stream.id
        resumed = both.subscribe(["a", "b"], after=kept)
        assert resumed.next().data == n
        resumed.close()
        assert stream.next().data == n
    assert stream.next(0) is None
    both.publish("b", "behind all")
    resumed = both.subscribe(["a", "b"], after=stream.stream.id)
    assert resumed.next().data == stream.next().data == "behind all"
    resumed.close()
    stream.close()


def test_an_event_without_an_id_moves_no_id(both: Both) -> None:
    stream = both.subscribe("a")
    beginning = stream.stream.id
    both.publish("a", "typing", visibility="live_ui_only")
    both.publish("a", "kept")
    assert stream.next().data == "typing"
    assert stream.stream.id == beginning
    assert stream.next().id == stream.stream.id
    stream.close()


def test_starts(both: Both) -> None:
    for n in range(5):
        both.publish("a", n)
    earliest = both.subscribe("a", after="earliest")
    assert data([earliest.next() for _ in range(5)]) == [0, 1, 2, 3, 4]
    last = both.subscribe("a", last=2)
    assert data([last.next() for _ in range(2)]) == [3, 4]
    now = both.subscribe("a", after="now")
    both.publish("a", "new")
    assert now.next().data == "new"
    for stream in (earliest, last, now):
        stream.close()


def test_one_id_resumes_several_channels(both: Both) -> None:
    stream = both.subscribe(["a", "b"])
    both.publish("a", 1)
    both.publish("b", 2)
    events = [stream.next(), stream.next()]
    assert sorted(data(events)) == [1, 2]
    stream.close()
    both.publish("b", 3)
    both.publish("a", 4)
    again = both.subscribe(["b", "a"], after=events[1].id)
    assert sorted(data([again.next(), again.next()])) == [3, 4]
    assert again.next(0.05) is None
    again.close()


def test_a_bad_id_is_one_gap_and_then_the_start(both: Both) -> None:
    both.publish("a", 1)
    for bad in ("nonsense", "x" * 9000, str(Position("aaaaaaaa", "e", 1, "c"))):
        stream = both.subscribe("a", after=bad)
        gap = stream.next()
        assert (gap.type, gap.data) == ("stream.gap", {"channel": "a", "reason": "invalid", "missed": None})
        both.publish("a", 2)
        assert stream.next().data == 2
        stream.close()


def test_what_was_trimmed_is_a_gap(both: Both) -> None:
    first = both.publish("a", 0)
    for n in range(1, 120):
        both.publish("a", n)
    stream = both.subscribe("a", after=first)
    gap = stream.next()
    assert gap.type == "stream.gap"
    assert gap.data["reason"] == "trimmed"
    after = stream.next()
    assert after.data == gap.position.offset  # offsets count from 1, the data from 0
    assert 119 - after.data >= 49
    stream.close()
    resumed = both.subscribe("a", after=gap.id)
    assert resumed.next().data == after.data
    resumed.close()


def test_history(both: Both) -> None:
    positions = [both.publish("a", n) for n in range(10)]
    assert data(both.history("a", limit=3)) == [0, 1, 2]
    assert data(both.history("a", after=positions[6])) == [7, 8, 9]
    assert both.history("nothing-here") == []
    for n in range(10, 120):
        both.publish("a", n)
    events = both.history("a", after=positions[0], limit=5)
    assert [event.type for event in events[:2]] == ["stream.gap", "message"]


def test_the_end(both: Both) -> None:
    both.publish("run:9", 1)
    stream = both.subscribe("run:9", after="earliest")
    end = both.close_channel("run:9", reason="completed")
    assert end.ended
    assert both.close_channel("run:9", reason="again") == end
    events = stream.rest()
    assert [event.type for event in events] == ["message", "stream.end"]
    assert events[1].data == {"channel": "run:9", "reason": "completed"}
    assert events[1].id == str(end)
    with pytest.raises(ChannelClosed):
        both.publish("run:9", 2)
    assert both.subscribe("run:9", after=events[1].id).rest() == []
    assert [event.type for event in both.subscribe("run:9").rest()] == ["stream.end"]
    behind = both.subscribe("run:9", after=events[0].id)
    assert [event.type for event in behind.rest()] == ["stream.end"]


def test_bad_requests(both: Both) -> None:
    with pytest.raises(TooManyChannels):
        both.subscribe([f"c{n}" for n in range(21)])
    with pytest.raises(InvalidChannel):
        both.subscribe([])
    with pytest.raises(InvalidPosition):
        both.subscribe("a", after=7)
    with pytest.raises(InvalidPosition):
        both.subscribe("a", last=-1)
    with pytest.raises(InvalidInput):
        both.history("a", limit=0)


def test_filters_hide_and_resume_exactly(both: Both) -> None:
    stream = both.subscribe("a", filter=PUBLIC & ByType("keep"))
    both.publish("a", 1, type="keep", visibility="internal_only")
    both.publish("a", 2, type="keep")
    both.publish("a", 3, type="drop")
    both.publish("a", 4, type="keep")
    events = [stream.next(), stream.next()]
    assert data(events) == [2, 4]
    stream.close()
    both.publish("a", 5, type="drop")
    both.publish("a", 6, type="keep")
    again = both.subscribe("a", after=events[1].id, filter=PUBLIC & ByType("keep"))
    assert again.next().data == 6
    again.close()
