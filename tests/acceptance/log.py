"""What the log said, and so what every reader must have seen: exactly, for the readers stand still while it is lost.

Ids are read here and nowhere else: ``<channel's key>-<epoch>-<offset>-<check>``, with ``-e`` behind a stored end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sse_bridge.events import NO_EPOCH
from tests.acceptance.readers import END, Reader, Seen


class Loss(NamedTuple):
    """What a reader must be told, once.

    Attributes:
        reason: the gap's.
        missed: how many events were published and can be read no more.
        epoch: of the first event behind it, and
        offset: likewise.
    """

    reason: str
    missed: int
    epoch: str
    offset: int


NOTHING = (NO_EPOCH.decode(), 0)  # the place in a channel without entries


def place(id: str) -> tuple[str, int]:
    """Epoch and offset of an id; of no id, nowhere."""
    parts = id.split("-")
    return (parts[1], int(parts[2])) if id else ("", -1)


def offset_of(id: str) -> int:
    return place(id)[1]


def in_order(ids: Iterable[str]) -> list[str]:
    """Ids of one life of the log as the log has them; asserts that none is missing and none is there twice."""
    ordered = sorted(ids, key=offset_of)
    epochs = {place(id)[0] for id in ordered}
    assert len(epochs) == 1, f"expected one epoch, got {epochs}"
    first = offset_of(ordered[0])
    assert [offset_of(id) for id in ordered] == list(range(first, first + len(ordered)))
    return ordered


class Log:
    """The history of a channel: ids in the log's order, and losses between them."""

    def __init__(self) -> None:
        self.story: list[str | Loss] = []
        self.data: dict[str, Any] = {}

    def published(self, data: dict[str, Any]) -> None:
        """A round of events by id, all of which can still be read."""
        self.data.update(data)
        self.story += in_order(data)

    def lost(self, reason: str, gone: Iterable[str], kept: dict[str, Any]) -> None:
        """While all readers stood at the end of the story `gone` was lost; `kept` is what came after."""
        gone = list(gone)
        if kept:
            epoch, offset = place(min(kept, key=offset_of))
        else:
            epoch, offset = place(max(gone, key=offset_of))
            offset += 1
        self.story.append(Loss(reason, len(gone), epoch, offset))
        if kept:
            self.published(kept)

    @property
    def end(self) -> tuple[str, int]:
        """Where a reader stands that has seen everything."""
        last = self.story[-1]
        return (last.epoch, last.offset - 1) if isinstance(last, Loss) else place(last)

    def check(self, reader: Reader) -> None:
        """Asserts that the reader saw every event in order, once, and was told of every loss, and was told right."""
        seen = iter(reader.seen)
        for number, entry in enumerate(self.story):
            event = next(seen, None)
            where = f"{reader.name}, entry {number} of {len(self.story)}, {entry}: saw {event}"
            assert event is not None, where
            if isinstance(entry, Loss):
                _check_gap(event, entry, reader.channel, where)
            else:
                assert (event.type, event.id) == ("row", entry), where
                assert event.data == self.data[entry], where
        end = next(seen, None)
        assert end is not None, f"{reader.name} did not see the end"
        assert end.type == END, f"{reader.name}: expected the end, saw {end}"
        epoch, offset = self.end
        assert place(end.id) == (epoch, offset + 1), end
        assert (next(seen, None), end.data) == (None, {"channel": reader.channel, "reason": "completed"})


def _check_gap(event: Seen, loss: Loss, channel: str, where: str) -> None:
    assert event.type == "stream.gap", where
    assert set(event.data) == {"channel", "reason", "missed"}, where
    assert event.data["channel"] == channel, where
    assert event.data["reason"] == loss.reason, where
    assert event.data["missed"] in (None, loss.missed), where
    # who looks between the loss and the next event finds nothing, and is led to before the first entry of what will come
    empty = {NOTHING} if loss.reason == "epoch" and loss.offset == 1 else set()
    assert place(event.id) in {(loss.epoch, loss.offset - 1), *empty}, where
