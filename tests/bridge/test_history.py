"""Pages of the log as events: whatever is not proven to follow is told by a gap, and a filter hides what it hides."""

from __future__ import annotations

import dataclasses

import pytest

from sse_bridge import ByType
from sse_bridge.config import Settings
from sse_bridge.errors import InvalidInput
from sse_bridge.events import Entry
from sse_bridge.history import History
from sse_bridge.records.continuity import Page
from tests.follow.test_continuity import EPOCH, chain

from .both import Both, data


def page(first: int, last: int, top: int, *, more: bool = False) -> Page:
    """Every tenth entry is of the type ``ten``."""
    entries = [
        Entry(EPOCH, each.offset, each.prev, each.check, 0, "u", "J", "ten" if each.offset % 10 == 0 else "t", b"1")
        for each in chain(first, last)
    ]
    return Page(EPOCH, top, f"x{top}".encode(), False, 1, first, entries, more)


def test_a_foreign_record_inside_the_page_is_a_gap() -> None:
    history = History(Settings(), "a", None, 100, None)
    history.take(Page(EPOCH, 5, b"x5", False, 1, 1, [*chain(1, 2), *chain(4, 5)], False))
    events = history.events
    assert history.request is None
    assert [event.type for event in events] == ["t", "t", "stream.gap", "t", "t"]
    assert events[2].data == {"channel": "a", "reason": "diverged", "missed": None}
    assert events[2].position is not None
    assert events[2].position.offset == 3


def test_a_filter_reads_on_until_the_limit_is_full() -> None:
    history = History(Settings(), "a", None, 3, ByType("ten"))
    seen = []
    while history.request is not None:
        seen.append(history.request.offset)
        first = history.request.offset + 1
        history.take(page(first, first + 14, 1000, more=True))
    assert seen == [0, 15]
    assert [event.position.offset for event in history.events if event.position] == [10, 20, 30]


def test_it_ends_at_what_was_the_newest_when_it_began() -> None:
    history = History(Settings(), "a", None, 100, ByType("never"))
    reads = 0
    while history.request is not None:  # somebody publishes as fast as this one reads
        reads += 1
        first = history.request.offset + 1
        history.take(page(first, first + 99, 200 + 100 * reads, more=True))
    assert reads == 3
    assert history.events == []


def test_what_is_lost_between_two_pages_is_a_gap() -> None:
    history = History(Settings(), "a", None, 10, ByType("ten"))
    history.take(page(1, 13, 30, more=True))
    assert history.request is not None
    trimmed = page(25, 30, 30)
    history.take(dataclasses.replace(trimmed, first=25))
    assert [event.type for event in history.events] == ["ten", "stream.gap", "ten"]
    assert history.events[1].data["reason"] == "trimmed"


def test_filters_over_both_backends_and_colours(both: Both) -> None:
    for number in range(45):
        both.publish("a", number, type="even" if number % 2 == 0 else "odd")
    both.close_channel("a")
    assert data(both.history("a", filter=ByType("odd"), limit=3)) == [1, 3, 5]
    third = both.history("a", filter=ByType("odd"), limit=3)[-1].id
    rest = both.history("a", after=third, filter=ByType("odd"), limit=100)
    assert data(rest)[:-1] == list(range(7, 45, 2))
    assert rest[-1].type == "stream.end"
    assert [event.type for event in both.history("a", filter=ByType("neither"))] == ["stream.end"]
    with pytest.raises(InvalidInput, match="filter="):
        both.history("a", filter=lambda event: True)
