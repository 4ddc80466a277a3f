"""Checks and visibilities of the entries that a window has evicted, by offset, to prove and count gaps.

Checks stay joined a chunk at a time, as the store drops them, so that the garbage collector has few objects to visit.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ..events import VISIBILITY_OF_CODE
from ..filters import Filter

EVICTED_LENGTH: Final = 4096  # about 15 bytes each: 60 kB for a busy channel
PART_LENGTH: Final = 64  # small parts are joined up to this length, to share `PART_BYTES`
PART_BYTES: Final = 200  # of a part in memory besides its checks and visibilities


class EvictedChecks:
    """The newest `EVICTED_LENGTH` evicted entries, without holes, rounded up to whole parts.

    Attributes:
        end: the offset of the newest entry.
        size: roughly the bytes in memory; 0 while only the entry before the first is known.
    """

    __slots__ = ("_parts", "end", "size")

    def __init__(self, offset: int, check: bytes) -> None:
        """Empty, behind the entry at `offset`, of which only the check is known."""
        self.end = offset
        self._parts = deque([(offset, check, " ")])  # last offset, checks, visibilities
        self.size = 0

    def add(self, checks: bytes, visibilities: str) -> None:
        """Appends entries: their checks, separated by spaces, and one letter of visibility each."""
        self.end += len(visibilities)
        _, last_checks, last_visibilities = self._parts[-1]
        if len(last_visibilities) + len(visibilities) <= PART_LENGTH:
            self._parts[-1] = (self.end, last_checks + b" " + checks, last_visibilities + visibilities)
            self.size += len(checks) + len(visibilities) + 1
        else:
            self._append((self.end, checks, visibilities))
        while self.end - self._parts[0][0] >= EVICTED_LENGTH:
            self.size -= _size(self._parts.popleft())

    def back_to(self, offset: int) -> bool:
        """Removes the entries behind `offset`, which are in the window again; False if that is too long ago."""
        parts = self._parts
        if offset <= parts[0][0] - len(parts[0][2]):
            return False
        while self.end > offset:
            end, checks, visibilities = part = parts.pop()
            self.size -= _size(part)
            known = max(0, len(visibilities) + offset - end)
            if known:
                self._append((offset, b" ".join(checks.split(b" ")[:known]), visibilities[:known]))
            self.end = parts[-1][0]
        return True

    def check(self, offset: int) -> bytes | None:
        """The check of the entry at `offset`; None if that is too long ago."""
        for end, checks, visibilities in reversed(self._parts):
            if offset > end - len(visibilities):
                return checks.split(b" ")[offset - end - 1]
        return None

    def visibilities(self, after: int, upto: int) -> list[str]:
        """The visibilities of the entries behind `after`, which must be known, up to `upto`."""
        found: list[str] = []
        for end, _, visibilities in self._parts:
            before = end - len(visibilities)
            found.extend(visibilities[max(0, after - before) : max(0, upto - before)])
        return found

    def _append(self, part: tuple[int, bytes, str]) -> None:
        self._parts.append(part)
        self.size += _size(part)


def _size(part: tuple[int, bytes, str]) -> int:
    return len(part[1]) + len(part[2]) + 1 + PART_BYTES


def visible(filter: Filter | None, codes: list[str]) -> int | None:
    """How many entries of these visibilities the filter would show; None if a filter needs the entries to decide."""
    if filter is None:
        return len(codes)
    hides = filter.hidden_visibilities()
    if hides is None:
        return None
    return sum(1 for code in codes if VISIBILITY_OF_CODE.get(code) not in hides)
