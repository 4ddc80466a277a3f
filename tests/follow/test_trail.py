"""What a window remembers of the entries it evicted: checks and visibilities by offset, a bounded number of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.follow.trail import TRAIL_LENGTH, Trail


@given(st.integers(0, 10**6), st.lists(st.text("umli", min_size=1, max_size=40), max_size=20), st.data())
def test_it_answers_like_a_list(start: int, parts: list[str], data: st.DataObject) -> None:
    trail = Trail(start, b"c0")
    checks, codes = [b"c0"], [""]
    for part in parts:
        new = [f"c{len(checks) + i}".encode() for i in range(len(part))]
        trail.add(b" ".join(new), part)
        checks += new
        codes += part
    assert trail.end == start + len(checks) - 1
    assert [trail.check(start + i) for i in range(len(checks))] == checks
    assert trail.check(start - 1) is None
    after = data.draw(st.integers(0, len(checks) - 1))
    upto = data.draw(st.integers(after, len(checks) + 3))
    assert trail.visibilities(start + after, start + upto) == codes[after + 1 : upto + 1]


def test_it_forgets_what_is_too_long_ago() -> None:
    trail = Trail(0, b"c0")
    for n in range(1, TRAIL_LENGTH * 2, 5):
        trail.add(b" ".join([f"c{n + i}".encode() for i in range(5)]), "ummmm")
        known = min(trail.end, TRAIL_LENGTH - 1)
        assert trail.check(trail.end - known) == f"c{trail.end - known}".encode()
    assert trail.check(trail.end - TRAIL_LENGTH - 5) is None
