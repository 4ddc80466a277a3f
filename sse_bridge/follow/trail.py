"""Checks and visibilities of the entries that a window has evicted, by offset: what is left to prove and count a gap.

They stay joined as the shelf hands them over, a chunk at a time, and cost the garbage collector next to nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Final

TRAIL_LENGTH: Final = 4096  # about 15 bytes each: 60 kB for a busy channel


class Trail:
    """The newest `TRAIL_LENGTH` evicted entries, without holes; a few more until a whole part is too many.

    Attributes:
        end: the offset of the newest.
    """

    __slots__ = ("_length", "_parts", "end")

    def __init__(self, offset: int, check: bytes) -> None:
        """Begins behind the entry at `offset`, of which only the check is known."""
        self.end = offset
        self._length = 1
        self._parts: deque[tuple[int, bytes, str]] = deque([(offset, check, " ")])  # last offset, checks, visibilities

    def add(self, checks: bytes, visibilities: str) -> None:
        """The next entries: their checks, with spaces between, and a letter for each."""
        self.end += len(visibilities)
        self._length += len(visibilities)
        self._parts.append((self.end, checks, visibilities))
        while self._length - len(self._parts[0][2]) >= TRAIL_LENGTH:
            self._length -= len(self._parts.popleft()[2])

    def check(self, offset: int) -> bytes | None:
        """The check of the entry at `offset`; None when that is too long ago."""
        for end, checks, visibilities in reversed(self._parts):
            if offset > end - len(visibilities):
                return checks.split(b" ")[offset - end - 1]
        return None

    def visibilities(self, after: int, upto: int) -> list[str]:
        """Those of the entries behind `after`, which must be known, up to `upto`."""
        found: list[str] = []
        for end, _, visibilities in self._parts:
            before = end - len(visibilities)
            found.extend(visibilities[max(0, after - before) : max(0, upto - before)])
        return found
