"""A reader on one or several channels: the next deliveries, each with the id to resume behind it.

`Follower.pull` never waits, and returns a `Batch` or None. On the path of a live event all cursors stand in their
windows, so a follower's state is a tuple of serials, and readers with equal channels, filter and serials get the *same*
batch from the `BatchCache`: built, filtered, merged and rendered once for any number of readers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..events import END_TYPE, Entry
from ..filters import Filter
from ..records.codec import id_part
from ..records.continuity import point_of
from .batch import END, ENTRY, GAP, POSITION, Batch, BatchCache, Delivery, Step
from .cursor import NOWHERE, Cursor
from .kept import FRAME_OVERHEAD


class Follower:
    """Merges the cursors of one reader into batches. Not safe for concurrent use; the hub serialises.

    Args:
        cursors: one per channel, in the order of the request.
        filter: selects the entries; control entries always pass.
        tell_hidden_after: hidden entries after which the client gets its position (a quarter of the replay).
    """

    def __init__(self, cursors: Sequence[Cursor], filter: Filter | None, tell_hidden_after: int) -> None:
        self.cursors = list(cursors)
        self.filter = filter
        self._tell_hidden_after = tell_hidden_after
        self._told_lag = False
        self.group = (tuple(cursor.channel for cursor in cursors), filter)

    @property
    def ready(self) -> bool:
        """Whether every channel is subscribed and its log read, so that the stream can open."""
        # a list: every cursor must ask
        return all([cursor.find_place() for cursor in self.cursors])

    @property
    def finished(self) -> bool:
        """Whether every channel's end was delivered."""
        for cursor in self.cursors:  # noqa: SIM110  # asked at each wake, and a generator costs more than the answer
            if not cursor.ended:
                return False
        return True

    @property
    def dropped(self) -> int:
        return sum(cursor.dropped for cursor in self.cursors)

    @property
    def behind(self) -> int:
        """Entries behind the head, on the channel where that is most."""
        return max([cursor.behind for cursor in self.cursors])

    @property
    def lags(self) -> bool:
        """Whether the policy skipped entries; True once."""
        lags = self.dropped > 0 and not self._told_lag
        self._told_lag = self._told_lag or lags
        return lags

    @property
    def hidden(self) -> int:
        """Log entries that the filter hid since the last id that the client got."""
        hidden = 0
        for cursor in self.cursors:
            hidden += cursor.hidden
        return hidden

    @property
    def state(self) -> tuple[tuple[int, bytes], ...]:
        """The places in the windows; equal for followers of one group that have seen the same."""
        return tuple([(cursor.serial, cursor.mark) for cursor in self.cursors])

    @property
    def at_head(self) -> bool:
        """Whether every cursor stands at the head, with the policy ``catch_up``."""
        return all([cursor.pace.policy == "catch_up" for cursor in self.cursors]) and self._hidden_at_head() is not None

    @property
    def waits(self) -> bool:
        """Whether every cursor stands at the head, and the client needs no position note either."""
        hidden = self._hidden_at_head()
        return hidden is not None and (self.filter is None or hidden < self._tell_hidden_after)

    def _hidden_at_head(self) -> int | None:
        """As `hidden`; None: a cursor is neither at the head of an open channel nor behind the end of a closed one."""
        hidden = 0
        for cursor in self.cursors:
            hidden += cursor.hidden
            if not cursor.ended:
                window = cursor.feed.window
                if window is None or window.closed or cursor.gap is not None or cursor.serial != window.end_serial:
                    return None
        return hidden

    def copy(self) -> Follower:
        """Another follower in the same place, which keeps no entry since it may stay there for long."""
        return Follower([cursor.copy() for cursor in self.cursors], self.filter, self._tell_hidden_after)

    def forget_entries(self) -> None:
        """Keeps positions only, so that an entry evicted from all windows can be freed."""
        for cursor in self.cursors:
            if cursor.point is not None:
                cursor.point = point_of(cursor.point)

    def id(self) -> bytes:
        """The position vector behind the last delivery; empty while a channel has no position.

        An id without a part for a channel would make the client begin there anew, and miss entries without a gap.
        """
        return _vector([cursor.part() for cursor in self.cursors]) or b""

    def pull(self, cache: BatchCache | None, max_bytes: int) -> Batch | None:
        """The next deliveries; None: none until a feed's version changes.

        Args:
            cache: shared by the followers of a hub; None: no other follower is in the same place.
            max_bytes: of the frames, roughly; shared by the channels with entries, each of which gets one at least.

        Raises:
            SlowReader: the reader fell too far behind under the policy ``disconnect``.
        """
        while True:
            batch = self._next(cache, max_bytes)
            if batch is None or batch.deliveries:
                return batch
            if not batch.moved:
                return None

    def flow(self, max_bytes: int, frame: Callable[[str, Entry, bytes | None], bytes]) -> list[bytes]:
        """The frames of live entries of one channel in its window; empty where `pull` must deliver instead.

        This path of a live event makes no objects for others to share, as `pull` does for the same entries.

        Args:
            frame: renders an entry with its id, or None for an ephemeral one.
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
        """A batch with the position if entries were hidden since the last id; for heartbeats."""
        return self._position_note() if self.hidden and self.id() else None

    def _next(self, cache: BatchCache | None, max_bytes: int) -> Batch | None:
        shared = True  # every cursor's state is its serial, so that followers may share a batch
        idle = True
        paging = 0  # number of cursors that wait for a page or take from one
        for cursor in self.cursors:
            if cursor.pace.policy != "catch_up":
                cursor.skip()
                shared = False
            if not cursor.find_place():
                shared = False
                paging += 1
            elif not cursor.in_window:
                shared = shared and cursor.ended
                idle = idle and cursor.ended
                paging += not cursor.ended
            elif idle and not cursor.ended:
                window = cursor.feed.window
                assert window is not None
                idle = cursor.serial == window.end_serial and not window.closed
        if paging:
            for cursor in self.cursors:
                cursor.keep_at_most(max_bytes // paging)
        if idle:
            return self._position_note() if self.hidden >= self._tell_hidden_after else None
        if not shared or cache is None:
            return self._build(max_bytes)
        state = [(c.serial, c.mark, c.joined if c.joined > c.serial else 0) for c in self.cursors]
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
        share = max_bytes // max(1, sum([cursor.has_more for cursor in self.cursors]))
        overhead = FRAME_OVERHEAD + sum(map(len, parts)) + len(parts)  # each frame holds the whole vector
        runs: list[list[Entry]] = []
        for index, cursor in enumerate(self.cursors):
            if cursor.gap is not None:
                gap = cursor.pass_gap()
                parts[index] = cursor.part()
                deliveries.append(Delivery(GAP, cursor.channel, None, gap, _vector(parts)))
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
            deliveries.append(Delivery(ENTRY, cursor.channel, entry, None, _vector(parts)))
        for index, cursor in enumerate(self.cursors):
            if not cursor.ended and cursor.at_end and cursor.find_place():
                cursor.ended = True
                parts[index] = cursor.part()
                deliveries.append(Delivery(END, cursor.channel, None, None, _vector(parts)))
        steps = []
        told = any(delivery.id is not None for delivery in deliveries)
        for index, cursor in enumerate(self.cursors):
            cursor.hidden = hidden[index] if told else cursor.hidden + hidden[index]
            cursor.point = cursor.point and point_of(cursor.point)
            steps.append(Step(cursor.serial, cursor.point, cursor.ended, hidden[index], told))
        moved = before != [(cursor.serial, cursor.point, cursor.gap) for cursor in self.cursors]
        return Batch(deliveries, steps, moved)

    def _build_simply(self, cursor: Cursor, max_bytes: int) -> Batch:
        """`_build` for the common case, one channel in its window, where an id is the entry's own position."""
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
        cursor.point, cursor.ended = point and point_of(point), ended
        cursor.hidden = hidden if told else cursor.hidden + hidden
        steps = [Step(cursor.serial, cursor.point, ended, hidden, told)]
        return Batch(deliveries, steps, cursor.serial != before)


def _vector(parts: list[bytes]) -> bytes | None:
    """The id of these channels' parts; None while a channel has no position."""
    return None if b"" in parts else b".".join(parts)


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
