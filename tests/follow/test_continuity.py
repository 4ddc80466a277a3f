"""The judgement, case by case: what continues a position, what is a gap, and what a page cannot tell."""

from __future__ import annotations

import pytest

from sse_bridge.events import GENESIS, NO_EPOCH, Entry
from sse_bridge.records.continuity import Gap, Page, Point, Verdict, judge

EPOCH = b"epochone"


def chain(first: int, last: int, history: str = "x", before: str | None = None) -> list[Entry]:
    """Entries first..last whose checks name their history, so that two histories differ."""
    entries = []
    prev = (before or f"{history}{first - 1}").encode()
    for offset in range(first, last + 1):
        check = f"{history}{offset}".encode()
        entries.append(Entry(EPOCH, offset, prev, check, 0, "u", "J", "t", b"1"))
        prev = check
    return entries


def page(entries: list[Entry], *, top: int = 10, first: int = 1, start: int | None = None, more: bool = False) -> Page:
    begin = start if start is not None else entries[0].offset if entries else top + 1
    return Page(EPOCH, top, f"x{top}".encode(), False, first, begin, entries, more)


def at(offset: int, history: str = "x", epoch: bytes = EPOCH) -> Point:
    return Point(epoch, offset, f"{history}{offset}".encode())


HEAD = Point(EPOCH, 10, b"x10")
BEFORE = Point(NO_EPOCH, 0, GENESIS)  # where a reader of a channel without entries stands
LOST = Point(NO_EPOCH, 0, EPOCH)  # and the reader has been told of it
EMPTY = Page(NO_EPOCH, 0, GENESIS, False, 1, 1, [], False)

CASES = {
    "it goes on": (at(4), page(chain(5, 10)), Verdict(None, 0)),
    "it goes on inside the page": (at(6), page(chain(5, 10)), Verdict(None, 2)),
    "it stands at the head": (at(10), page([]), Verdict(None, 0)),
    "another history at the head": (at(10, "y"), page([]), Verdict(Gap("diverged", None, HEAD), 0)),
    "beyond the top": (at(11), page([]), Verdict(Gap("diverged", None, HEAD), 0)),
    "another history below the head": (
        at(6, "y"), page(chain(7, 10)), Verdict(Gap("diverged", None, Point(EPOCH, 6, b"x6")), 0),
    ),
    "another history inside the page": (
        at(6, "y"), page(chain(5, 10)), Verdict(Gap("diverged", None, Point(EPOCH, 6, b"x6")), 2),
    ),
    "trimmed": (at(3), page(chain(6, 10), first=6), Verdict(Gap("trimmed", None, Point(EPOCH, 5, b"x5")), 0)),
    "right before the oldest": (at(5), page(chain(6, 10), first=6), Verdict(None, 0)),
    "another epoch": (
        at(3, epoch=b"older"), page(chain(6, 10), first=6), Verdict(Gap("epoch", None, Point(EPOCH, 5, b"x5")), 0),
    ),
    "another epoch and nothing kept": (
        at(3, epoch=b"older"), page([], first=11), Verdict(Gap("epoch", None, HEAD), 0),
    ),
    "another epoch, but a page from the middle": (at(3, epoch=b"older"), page(chain(7, 10)), None),
    "the list is gone": (at(3), page([], first=11), Verdict(Gap("expired", None, HEAD), 0)),
    "a look at the head alone": (at(3), page([], first=1), None),
    "the page begins too late": (at(3), page(chain(7, 10), first=2), None),
    "the page ends too early": (at(8), page(chain(5, 7), more=True), None),
    "a foreign record in between": (
        at(5), page([*chain(5, 5), *chain(7, 10)], start=5),
        Verdict(Gap("diverged", None, Point(EPOCH, 6, b"x6")), 1),
    ),
    "a foreign record at the beginning": (
        at(4), page(chain(6, 10), start=5), Verdict(Gap("diverged", None, Point(EPOCH, 5, b"x5")), 0),
    ),
    "foreign records up to the head": (
        at(7), page(chain(5, 7), start=5), Verdict(Gap("diverged", None, HEAD), 3),
    ),
    "nothing but foreign records": (at(4), page([], start=5), Verdict(Gap("diverged", None, HEAD), 0)),
    "a whole page of foreign records": (at(4), page([], start=5, more=True), Verdict(Gap("diverged", None, HEAD), 0)),
    "the oldest is a foreign record": (
        at(2), page(chain(7, 10), first=6, start=6), Verdict(Gap("trimmed", None, Point(EPOCH, 6, b"x6")), 0),
    ),
    "still no entry": (BEFORE, EMPTY, Verdict(None, 0)),
    "from before the first entry": (BEFORE, page(chain(1, 4, before="0"), more=True), Verdict(None, 0)),
    "from before the first entry, and trimmed": (
        BEFORE, page(chain(6, 10), first=6), Verdict(Gap("trimmed", None, Point(EPOCH, 5, b"x5")), 0),
    ),
    "from before the first entry, and the list is gone": (
        BEFORE, page([], first=11), Verdict(Gap("expired", None, HEAD), 0),
    ),
    "from before the first entry, but a page from the middle": (BEFORE, page(chain(7, 10)), None),
    "from before the first entry, another record in its place": (
        BEFORE, page(chain(2, 10), start=1), Verdict(Gap("diverged", None, Point(EPOCH, 1, b"x1")), 0),
    ),
    "the log is lost, and nothing came since": (at(3), EMPTY, Verdict(Gap("epoch", None, LOST), 0)),
    "nothing has come since the loss was told": (LOST, EMPTY, Verdict(None, 0)),
    "another life has come since the loss was told": (LOST, page(chain(1, 10, before="0")), Verdict(None, 0)),
    "a forged position where no entry was": (
        Point(NO_EPOCH, 7, b"x7"), EMPTY, Verdict(Gap("diverged", None, BEFORE), 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_judge(case: tuple[Point, Page, Verdict | None]) -> None:
    point, read, expected = case
    assert judge(point, read) == expected


def test_an_entry_serves_as_a_point() -> None:
    assert judge(chain(4, 4)[0], page(chain(5, 10))) == Verdict(None, 0)
