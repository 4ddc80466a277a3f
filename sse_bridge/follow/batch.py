"""Batches of deliveries, shared by readers in the same place."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ..events import ENTRY_BYTES, Entry
from ..records.continuity import Gap, Point

ENTRY: Final = 0
GAP: Final = 1
END: Final = 2
POSITION: Final = 3

CACHED_BATCHES: Final = 512
CACHED_BYTES: Final = 8 * 2**20  # in a hub's cached batches, roughly


class Delivery(NamedTuple):
    """One item for the reader.

    Attributes:
        kind: ENTRY, GAP, END (a stored end that was not seen as an entry) or POSITION (filtered entries moved it).
        channel: the item's channel; empty for POSITION.
        entry: of ENTRY.
        gap: of GAP.
        id: the position vector behind the item; None for an ephemeral entry, and while a channel has no position.
    """

    kind: int
    channel: str
    entry: Entry | None
    gap: Gap | None
    id: bytes | None


class Step(NamedTuple):
    """One cursor's move by a batch."""

    serial: int
    point: Point | Entry | None
    ended: bool
    hidden: int
    shown: bool


class Batch:
    """Deliveries in order, and the cursors' places behind them; immutable, since readers share it.

    ``payloads`` holds the joined bytes by format, made by the first reader that needs them.

    Attributes:
        steps: one per cursor, for followers that take the batch from the cache.
        moved: whether the cursors moved, so that more may follow even without a delivery.
    """

    __slots__ = ("deliveries", "moved", "payloads", "steps")

    def __init__(self, deliveries: list[Delivery], steps: list[Step], moved: bool) -> None:
        self.deliveries = deliveries
        self.steps = steps
        self.moved = moved
        self.payloads: dict[str, bytes] = {}

    @property
    def size(self) -> int:
        """Roughly the bytes in memory of entries that the window does not keep as objects, and of one payload."""
        size = 0
        for delivery in self.deliveries:  # mostly one, for which two lists and a sum would cost 0.5 µs more
            if delivery.entry is not None:
                size += 4 * len(delivery.entry.data) + ENTRY_BYTES  # data, record, body, and its part of the payload
        return size


class BatchCache:
    """Batches by reader state, valid until any window changes, when the hub clears the cache.

    Bounded, since many readers may come, each in a place of its own, before any window changes.

    Attributes:
        batches: by state.
        openings: what else is true of the windows as they are, by whatever names it (hub/resumption.py).
        size: the bytes that all of it holds in memory, roughly; never 0 while there is anything.
    """

    __slots__ = ("batches", "openings", "size")

    def __init__(self) -> None:
        self.batches: dict[object, Batch] = {}
        self.openings: dict[object, Any] = {}
        self.size = 0

    def put(self, state: object, batch: Batch) -> None:
        """Keeps a batch that was just built; discards all others when the cache is full."""
        self._make_room(batch.size + ENTRY_BYTES)
        self.batches[state] = batch

    def put_opening(self, name: object, opening: Any, size: int) -> None:
        """Keeps something else that holds `size` bytes; discards all others when the cache is full."""
        self._make_room(size + ENTRY_BYTES)
        self.openings[name] = opening

    def clear(self) -> None:
        if self.size:
            self.batches = {}
            self.openings = {}
            self.size = 0

    def _make_room(self, size: int) -> None:
        if len(self.batches) + len(self.openings) >= CACHED_BATCHES or self.size + size > CACHED_BYTES:
            self.clear()
        self.size += size
