"""A reader on one or several channels: what to deliver next, and the id that stands behind each delivery.

`pull` is the whole of it: it never waits, and returns a `Batch` or None. On the path of a live event all cursors stand
in their windows, so a follower's state is a tuple of serials, and readers with equal channels, filter and serials get
the *same* batch from the `BatchCache`: it is built, filtered, merged and rendered once, however many readers there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Final, NamedTuple

from ..events import END_TYPE, Entry
from ..filters import Filter
from .cursor import FRAME_OVERHEAD, NOWHERE, Cursor, id_part
from .page import Gap, Point

ENTRY: Final = 0
GAP: Final = 1
END: Final = 2
POSITION: Final = 3

CACHED_BATCHES: Final = 512  # each with up to one write of rendered bytes: 32 MB at most


class Delivery(NamedTuple):
    """One thing to hand to the reader.

    Attributes:
        kind: ENTRY, GAP, END (a stored end that was not seen as an entry) or POSITION (filtered entries moved it).
        channel: whose it is; empty for POSITION.
        entry: for ENTRY.
        gap: for GAP.
        id: the position vector behind it; None for an ephemeral entry.
    """

    kind: int
    channel: str
    entry: Entry | None
    gap: Gap | None
    id: bytes | None


class Step(NamedTuple):
    """How a batch moves one cursor."""

    serial: int
    point: Point | Entry | None
    ended: bool
    hidden: int
    shown: bool


class Batch:
    """Deliveries in order, and where the cursors stand behind them; shared, so never changed.

    ``payloads`` holds the joined bytes by format, made by the first reader that needs them.

    Attributes:
        steps: one per cursor, for who gets it from the cache.
        moved: the cursors stand elsewhere than before, so there may be more though nothing is delivered.
    """

    __slots__ = ("deliveries", "moved", "payloads", "steps")

    def __init__(self, deliveries: list[Delivery], steps: list[Step], moved: bool) -> None:
        self.deliveries = deliveries
        self.steps = steps
        self.moved = moved
        self.payloads: dict[str, bytes] = {}


class BatchCache:
    """Batches by reader state, valid until any window changes; the hub clears it then.

    Bounded, since nothing may change for long while readers come, each in a place of its own.
    """

    __slots__ = ("batches",)

    def __init__(self) -> None:
        self.batches: dict[object, Batch] = {}

    def put(self, state: object, batch: Batch) -> None:
        if len(self.batches) >= CACHED_BATCHES:
            self.batches = {}
        self.batches[state] = batch

    def clear(self) -> None:
        if self.batches:
            self.batches = {}


class Follower:
    """See the module. Not safe for concurrent use; the hub serialises.

    Args:
        cursors: one per channel, in the order of the request.
        filter: which entries are wanted; control entries always pass.
        tell_hidden_after: after so many hidden entries the position is told (a quarter of the replay).
    """

    def __init__(self, cursors: Sequence[Cursor], filter: Filter | None, tell_hidden_after: int) -> None:
        self.cursors = list(cursors)
        self.filter = filter
        self._tell_hidden_after = tell_hidden_after
        self._told_lag = False
        self.group = (tuple(cursor.channel for cursor in cursors), filter)

    @property
    def ready(self) -> bool:
        """Every channel is subscribed and its log read: the stream can open."""
        return all([cursor.settle() and cursor.resolved for cursor in self.cursors])  # every one must ask, so a list

    @property
    def finished(self) -> bool:
        """Every channel's end was delivered."""
        for cursor in self.cursors:  # noqa: SIM110  # asked at each wake, and a generator costs more than the answer
            if not cursor.ended:
                return False
        return True

    @property
    def at_end(self) -> bool:
        """Every channel is closed and nothing is left to deliver."""
        return all(cursor.at_end for cursor in self.cursors)

    @property
    def dropped(self) -> int:
        return sum(cursor.dropped for cursor in self.cursors)

    @property
    def behind(self) -> int:
        """How many entries it is behind the head of its slowest channel."""
        return max([cursor.behind for cursor in self.cursors])

    @property
    def lags(self) -> bool:
        """Its policy skipped entries; True once."""
        lags = self.dropped > 0 and not self._told_lag
        self._told_lag = self._told_lag or lags
        return lags

    @property
    def hidden(self) -> int:
        """Log entries that the filter hid since the client was last told a position."""
        hidden = 0
        for cursor in self.cursors:
            hidden += cursor.hidden
        return hidden

    @property
    def state(self) -> tuple[tuple[int, bool], ...]:
        """Where it stands in its windows; equal for followers of one group that have seen the same."""
        return tuple([(cursor.serial, cursor.ended) for cursor in self.cursors])

    @property
    def settled(self) -> bool:
        """It stands at the head of every window, without a policy of its own."""
        return all([cursor.pace.policy == "catch_up" for cursor in self.cursors]) and self.idle

    @property
    def idle(self) -> bool:
        """Nothing is there for it: it stands at the head of every open channel, and behind the end of the others."""
        for cursor in self.cursors:
            if not cursor.ended:
                window = cursor.feed.window
                if window is None or window.closed or cursor.gap is not None or cursor.serial != window.end_serial:
                    return False
        return True

    @property
    def waits(self) -> bool:
        """It is idle, and needs not tell its position either."""
        return self.idle and (self.filter is None or self.hidden < self._tell_hidden_after)

    def copy(self) -> Follower:
        """Another follower in the same state."""
        return Follower([copy(cursor) for cursor in self.cursors], self.filter, self._tell_hidden_after)

    def id(self) -> bytes:
        """The position vector as the client may be told now; channels without one are left out."""
        return b".".join(part for part in [cursor.part() for cursor in self.cursors] if part)

    def pull(self, cache: BatchCache | None, max_bytes: int) -> Batch | None:
        """The next deliveries; None: nothing until a feed's version changes.

        Args:
            cache: shared by the followers of a hub; None: nobody else is in the same place.
            max_bytes: of the frames, roughly; channels that have something share it, each gets one entry at least.

        Raises:
            SlowReader: the policy is to disconnect.
        """
        while True:
            batch = self._next(cache, max_bytes)
            if batch is None or batch.deliveries:
                return batch
            if not batch.moved:
                return None

    def flow(self, max_bytes: int, frame: Callable[[str, Entry, bytes | None], bytes]) -> list[bytes]:
        """The frames of live entries, where there is nothing else to tell: one channel, in its window. Else empty.

        The path of a live event: `pull` delivers the same, with an object for each step that others may share.

        Args:
            frame: renders an entry with its id; None: it has none.
        """
        cursor = self.cursors[0]
        if len(self.cursors) > 1 or not cursor.flows:
            return []
        frames: list[bytes] = []
        channel, key, filter = cursor.channel, cursor.key, self.filter
        point, hidden, told = cursor.point, 0, False
        for entry in cursor.take(max_bytes):
            if entry.stored:
                point = entry
            if filter is not None and not filter.matches(channel, entry):
                hidden += 1
            elif entry.stored:
                hidden, told = 0, True
                frames.append(frame(channel, entry, id_part(key, entry, False)))
            else:
                frames.append(frame(channel, entry, None))
        cursor.point = point
        cursor.hidden = hidden if told else cursor.hidden + hidden
        return frames

    def tell_position(self) -> Batch | None:
        """A position note if entries were hidden since the last id; for heartbeats."""
        return self._position_note() if self.hidden else None

    def _next(self, cache: BatchCache | None, max_bytes: int) -> Batch | None:
        shared = True  # every cursor's state is its serial, so others may be in the same state
        idle = True
        for cursor in self.cursors:
            if cursor.pace.policy != "catch_up":
                cursor.skip()
                shared = False
            if not cursor.settle():
                shared = False
            elif not cursor.in_window:
                shared = shared and cursor.ended
                idle = idle and cursor.ended
            elif idle and not cursor.ended:
                window = cursor.feed.window
                assert window is not None
                idle = cursor.serial == window.end_serial and not window.closed
        if idle:
            return self._position_note() if self.hidden >= self._tell_hidden_after else None
        if not shared or cache is None:
            return self._build(max_bytes)
        state = [(c.serial, c.ended, c.joined if c.joined > c.serial else 0) for c in self.cursors]
        key = (self.group, max_bytes, tuple(state))
        batch = cache.batches.get(key)
        if batch is None:
            batch = self._build(max_bytes)
            cache.put(key, batch)
        else:
            self._apply(batch)
        return batch

    def _position_note(self) -> Batch:
        for cursor in self.cursors:
            cursor.hidden = 0
        return Batch([Delivery(POSITION, "", None, None, self.id())], [], True)

    def _apply(self, batch: Batch) -> None:
        for cursor, step in zip(self.cursors, batch.steps, strict=True):
            if step.serial != NOWHERE:
                cursor.serial = step.serial
            cursor.point = step.point
            cursor.ended = step.ended
            cursor.hidden = step.hidden if step.shown else cursor.hidden + step.hidden

    def _build(self, max_bytes: int) -> Batch:
        """Takes from every cursor, merges by time, filters, and makes the ids."""
        if len(self.cursors) == 1 and self.cursors[0].in_window and not self.cursors[0].at_end:
            return self._build_simply(self.cursors[0], max_bytes)
        before = [(cursor.serial, cursor.point, cursor.gap) for cursor in self.cursors]
        deliveries: list[Delivery] = []
        parts = [cursor.part() for cursor in self.cursors]
        compose = _composer(parts)
        share = max_bytes // max(1, sum([cursor.has_more for cursor in self.cursors]))
        overhead = FRAME_OVERHEAD + sum(map(len, parts)) + len(parts)  # each frame holds the whole vector
        runs: list[list[Entry]] = []
        for index, cursor in enumerate(self.cursors):
            if cursor.gap is not None:
                gap = cursor.pass_gap()
                parts[index] = cursor.part()
                deliveries.append(Delivery(GAP, cursor.channel, None, gap, compose()))
            runs.append([] if cursor.ended else cursor.take(share, overhead))
        hidden = [0] * len(runs)
        for index, entry in _merged(runs):
            cursor = self.cursors[index]
            if entry.stored:
                cursor.point = entry
                cursor.ended = entry.type == END_TYPE
            if self.filter is not None and entry.type != END_TYPE and not self.filter.matches(cursor.channel, entry):
                hidden[index] += 1
                continue
            if not entry.stored:
                deliveries.append(Delivery(ENTRY, cursor.channel, entry, None, None))
                continue
            for i, count in enumerate(hidden):
                if count or i == index:
                    other = self.cursors[i]
                    point = other.point
                    assert point is not None
                    parts[i] = id_part(other.key, point, other.ended)
                    hidden[i] = 0
            deliveries.append(Delivery(ENTRY, cursor.channel, entry, None, compose()))
        for index, cursor in enumerate(self.cursors):
            if not cursor.ended and cursor.at_end and cursor.settle():
                cursor.ended = True
                parts[index] = cursor.part()
                deliveries.append(Delivery(END, cursor.channel, None, None, compose()))
        steps = []
        told = any(delivery.id is not None for delivery in deliveries)
        for index, cursor in enumerate(self.cursors):
            cursor.hidden = hidden[index] if told else cursor.hidden + hidden[index]
            steps.append(Step(cursor.serial, cursor.point, cursor.ended, hidden[index], told))
        moved = before != [(cursor.serial, cursor.point, cursor.gap) for cursor in self.cursors]
        return Batch(deliveries, steps, moved)

    def _build_simply(self, cursor: Cursor, max_bytes: int) -> Batch:
        """The same for the common case: one channel, in its window, so an id is the entry's own position."""
        deliveries: list[Delivery] = []
        channel, key, filter = cursor.channel, cursor.key, self.filter
        before = cursor.serial
        point, ended = cursor.point, cursor.ended
        hidden = 0
        told = False
        for entry in cursor.take(max_bytes):
            if entry.stored:
                point = entry
                ended = entry.type == END_TYPE
            if filter is not None and not ended and not filter.matches(channel, entry):
                hidden += 1
            elif entry.stored:
                hidden, told = 0, True
                deliveries.append(Delivery(ENTRY, channel, entry, None, id_part(key, entry, ended)))
            else:
                deliveries.append(Delivery(ENTRY, channel, entry, None, None))
        cursor.point, cursor.ended = point, ended
        cursor.hidden = hidden if told else cursor.hidden + hidden
        steps = [Step(cursor.serial, point, ended, hidden, told)]
        return Batch(deliveries, steps, cursor.serial != before)


def _composer(parts: list[bytes]) -> Callable[[], bytes]:
    if len(parts) == 1:
        return lambda: parts[0]
    return lambda: b".".join([part for part in parts if part])


def _merged(runs: list[list[Entry]]) -> list[tuple[int, Entry]]:
    """All entries by the broker's time, best effort across channels; the order inside a channel is kept."""
    busy = [index for index, run in enumerate(runs) if run]
    if len(busy) <= 1:
        return [(index, entry) for index in busy for entry in runs[index]]
    timed: list[tuple[int, int, Entry]] = []
    for index in busy:
        latest = 0
        for entry in runs[index]:
            latest = max(latest, entry.time_ms)  # a clock that stepped back must not turn a channel around
            timed.append((latest, index, entry))
    timed.sort(key=lambda item: item[0])
    return [(index, entry) for _, index, entry in timed]
