"""`Bridge.history`: one page of the log as events, with a leading gap where continuity cannot be proven. No I/O."""

from __future__ import annotations

from .config import Settings
from .errors import InvalidInput
from .events import Entry, Event, Position, channel_key
from .follow.cursor import id_part
from .follow.follower import ENTRY, GAP, Delivery
from .follow.page import DIVERGED, INVALID, Gap, Page, Point, ReadRequest, before, judge
from .follow.wish import Wish, make_wish
from .subscription import event_of

MAX_HISTORY = 10_000


def history_wish(
    settings: Settings, channel: str, after: str | Position | None, limit: int
) -> tuple[Wish, ReadRequest]:
    """What to read; raises `InvalidInput`."""
    if not isinstance(limit, int) or not 1 <= limit <= MAX_HISTORY:
        raise InvalidInput(f"limit must be a whole number from 1 to {MAX_HISTORY}, got {limit!r:.100}")
    wish = make_wish(settings, channel, after=after, start="earliest")
    position = wish.positions[0]
    if position is None:
        return wish, ReadRequest(channel, limit=limit, max_bytes=64 * 2**20)
    return wish, ReadRequest(channel, position.epoch.encode(), position.offset, limit, 64 * 2**20)


def history_events(wish: Wish, page: Page) -> list[Event]:
    """The page as events, after a gap event if the wish's position does not lead to it."""
    channel, key = wish.channels[0], channel_key(wish.channels[0])
    position = wish.positions[0]
    gap: Gap | None = None
    index = 0
    if position is not None:
        verdict = judge(Point(position.epoch.encode(), position.offset, position.check.encode()), page)
        if verdict is not None:
            gap, index = verdict.gap, verdict.index
    elif wish.invalid:
        gap = Gap(INVALID, None, before(page))
    deliveries = []
    before_it: Entry | None = None
    for entry in page.entries[index:]:
        if before_it is not None and entry.prev != before_it.check:  # a foreign record left a hole inside the page
            gap = Gap(DIVERGED, None, Point(entry.epoch, entry.offset - 1, entry.prev))
        if gap is not None:
            deliveries.append(Delivery(GAP, channel, None, gap, id_part(key, gap.after, False)))
            gap = None
        deliveries.append(Delivery(ENTRY, channel, entry, None, id_part(key, entry, entry.is_end)))
        before_it = entry
    if gap is not None:
        deliveries.append(Delivery(GAP, channel, None, gap, id_part(key, gap.after, False)))
    return [event for event in map(event_of, deliveries) if event is not None]
