"""One page of the log as events: whatever is not proven to follow is told by a gap."""

from __future__ import annotations

from sse_bridge.config import Settings
from sse_bridge.follow.page import Page
from sse_bridge.history import history_events, history_wish
from tests.follow.test_page import EPOCH, chain


def test_a_foreign_record_inside_the_page_is_a_gap() -> None:
    wish, _ = history_wish(Settings(), "a", None, 100)
    entries = [*chain(1, 2), *chain(4, 5)]
    page = Page(EPOCH, 5, b"x5", False, 1, 1, entries, False)
    events = history_events(wish, page)
    assert [event.type for event in events] == ["t", "t", "stream.gap", "t", "t"]
    assert events[2].data == {"channel": "a", "reason": "diverged", "missed": None}
    assert events[2].position is not None
    assert events[2].position.offset == 3
