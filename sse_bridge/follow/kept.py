"""The part of a page that a cursor behind the window keeps: as much as one write takes; the rest is read again later.

Stalled clients may each stand at another place of a log, and a page may hold a megabyte.
"""

from __future__ import annotations

from typing import Final

from ..events import Entry
from ..records.continuity import Point, before, follows, in_life

FRAME_OVERHEAD: Final = 100  # bytes that a frame has besides its data: field names, a short type, its channel's id


class KeptPage:
    """Consecutive entries of a page, except for holes that foreign records left.

    Args:
        max_bytes: of the frames; one entry is kept in any case.
    """

    __slots__ = ("_entries", "_taken")

    def __init__(self, entries: list[Entry], index: int, max_bytes: int) -> None:
        end, size = index, 0
        while end < len(entries):
            size += len(entries[end].data) + FRAME_OVERHEAD
            if size > max_bytes and end > index:
                break
            end += 1
        self._entries = entries[index:end]
        self._taken = 0

    def cut(self, max_bytes: int) -> KeptPage:
        """The entries not taken yet, within `max_bytes`."""
        return KeptPage(self._entries, self._taken, max_bytes)

    @property
    def spent(self) -> bool:
        """Whether all entries were taken."""
        return self._taken >= len(self._entries)

    @property
    def size(self) -> int:
        """The bytes of the frames that are left."""
        return sum([len(entry.data) + FRAME_OVERHEAD for entry in self._entries[self._taken :]])

    def take(self, point: Point | Entry | None, max_bytes: int, overhead: int) -> tuple[list[Entry], Point | None]:
        """The next entries up to a hole; where the hole comes first, no entry and the point behind it.

        Args:
            point: the position that the entries must continue.
            max_bytes: stop before the frames exceed this; one entry is returned in any case.
            overhead: bytes of a frame besides its data.
        """
        found: list[Entry] = []
        size = 0
        for entry in self._entries[self._taken :]:
            size += len(entry.data) + overhead
            if size > max_bytes and found:
                break
            if point is not None and not follows(entry, in_life(point, entry.epoch)):
                return found, None if found else before(entry)
            found.append(entry)
            point = entry
            self._taken += 1
        return found, None
