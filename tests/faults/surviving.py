"""What the log of a channel holds at the end, read from whichever server has it by then: the truth for every reader."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import Any

from sse_bridge import Bridge
from tests.acceptance.log import place
from tests.acceptance.readers import END, Seen

Key = tuple[str, int]  # publisher, and its number of the event
PAGE_EVENTS = 10_000


def key_of(type: str, data: Any) -> Key:
    """Whose event it is; the stored end counts as one, of a publisher of its own."""
    return (END, 0) if type == END else (data["by"], data["n"])


class Surviving:
    """The retained entries of the log's present life.

    Attributes:
        epoch: of this life, "" if there are no entries.
        first, top: offsets of the oldest and the newest.
        ids: by offset. An id holds the entry's check, so another history's entry at the same offset has another one.
        keys: by offset.
    """

    def __init__(self, entries: Sequence[Seen]) -> None:
        places = [place(entry.id) for entry in entries]
        self.epoch = places[0][0] if places else ""
        self.first = places[0][1] if places else 1
        self.top = places[-1][1] if places else 0
        assert places == [(self.epoch, offset) for offset in range(self.first, self.top + 1)], "a log with holes"
        self.ids = {offset: entry.id for (_, offset), entry in zip(places, entries, strict=True)}
        self.keys = {offset: key_of(entry.type, entry.data) for (_, offset), entry in zip(places, entries, strict=True)}
        self._of: dict[str, list[Key]] = {}
        self._offsets = {key: offset for offset, key in self.keys.items()}
        for key in sorted(self._offsets):
            self._of.setdefault(key[0], []).append(key)

    def holds(self, id: str) -> bool:
        """Whether this very entry is there, and not only one at its offset."""
        return self.ids.get(place(id)[1]) == id

    def neighbours(self, key: Key) -> tuple[int, int]:
        """Offsets of its publisher's event before and the one behind this, which is not there.

        A publisher goes on only when it was told what came of its last event. So a history to which this event belonged
        branched off between the two.
        """
        others = self._of.get(key[0], [])
        index = bisect(others, key)
        before = self._offsets[others[index - 1]] if index else self.first - 1
        behind = self._offsets[others[index]] if index < len(others) else self.top
        return before, behind


def read(bridge: Bridge, channel: str) -> Surviving:
    """Reads the whole log."""
    entries: list[Seen] = []
    while page := bridge.history(channel, after=entries[-1].id if entries else None, limit=PAGE_EVENTS):
        entries += [Seen(event.id, event.type, event.data) for event in page]
    return Surviving(entries)
