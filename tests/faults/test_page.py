"""The page: a figure that a row did not count is no 0 on it, and it says at which commit it was measured."""

from __future__ import annotations

from tests.faults.__main__ import page
from tests.faults.registry import Guarantee, Tally


def row(name: str) -> Guarantee:
    return Guarantee(name, lambda scale: Tally(), "Part", "promise")


def test_what_was_not_counted() -> None:
    some, other = Tally(faults=1200), Tally(faults=1)
    some.lost = 0
    other.published += 34
    text = page([(row("some"), some), (row("other"), other), (row("neither"), None)], 60, "abc1234 + changes")
    assert "| **some**: promise | – | 1,200 | 0 | – | – | – | – | – | – |" in text
    assert "| **other**: promise | 34 | 1 | – | – | – | – | – | – | – |" in text
    assert "| **neither**: promise | not run |" in text
    assert "All together: 34 events published, 1,201 faults injected, 0 lost, 0 doubled" in text
    assert "in 1 minutes, at commit abc1234 + changes, with sse-bridge" in text
