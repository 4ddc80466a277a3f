"""What a window remembers of the entries it evicted: checks and visibilities by offset, a bounded number of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.follow.evicted_checks import EVICTED_LENGTH, PART_BYTES, PART_LENGTH, EvictedChecks


@given(st.integers(0, 10**6), st.lists(st.text("umli", min_size=1, max_size=40), max_size=20), st.data())
def test_it_answers_like_a_list(start: int, parts: list[str], data: st.DataObject) -> None:
    evicted = EvictedChecks(start, b"c0")
    checks, codes = [b"c0"], [""]
    for part in parts:
        new = [f"c{len(checks) + i}".encode() for i in range(len(part))]
        evicted.add(b" ".join(new), part)
        checks += new
        codes += part
    assert evicted.end == start + len(checks) - 1
    assert [evicted.check(start + i) for i in range(len(checks))] == checks
    assert evicted.check(start - 1) is None
    after = data.draw(st.integers(0, len(checks) - 1))
    upto = data.draw(st.integers(after, len(checks) + 3))
    assert evicted.visibilities(start + after, start + upto) == codes[after + 1 : upto + 1]


@given(st.integers(0, 10**6), st.lists(st.text("umli", min_size=1, max_size=40), max_size=20), st.data())
def test_what_comes_back_into_the_window_leaves_it(start: int, parts: list[str], data: st.DataObject) -> None:
    evicted = EvictedChecks(start, b"c0")
    checks, codes = [b"c0"], [" "]
    for part in parts:
        back = data.draw(st.integers(0, len(checks) - 1))
        assert evicted.back_to(start + back)
        del checks[back + 1 :], codes[back + 1 :]
        new = [f"c{len(checks) + i}".encode() for i in range(len(part))]
        evicted.add(b" ".join(new), part)
        checks += new
        codes += part
        assert evicted.end == start + len(checks) - 1
        assert [evicted.check(start + i) for i in range(len(checks))] == checks
        assert evicted.visibilities(start, evicted.end) == codes[1:]
        assert abs(evicted.size - sum(map(len, checks)) - 2 * len(codes)) <= PART_BYTES * (len(codes) // 20 + 2)
    assert not evicted.back_to(start - 1)


def test_entries_that_come_one_by_one_take_no_more_than_together() -> None:
    one_by_one, together = EvictedChecks(0, b"c0"), EvictedChecks(0, b"c0")
    for n in range(1, EVICTED_LENGTH, 32):
        checks = [f"c{n + i:07d}".encode() for i in range(32)]
        together.add(b" ".join(checks), "u" * 32)
        for check in checks:
            one_by_one.add(check, "u")
    assert one_by_one.size <= together.size < 20 * EVICTED_LENGTH


def test_it_forgets_what_is_too_long_ago() -> None:
    evicted = EvictedChecks(0, b"c0")
    for n in range(1, EVICTED_LENGTH * 2, 5):
        evicted.add(b" ".join([f"c{n + i}".encode() for i in range(5)]), "ummmm")
        known = min(evicted.end, EVICTED_LENGTH - 1)
        assert evicted.check(evicted.end - known) == f"c{evicted.end - known}".encode()
    assert evicted.check(evicted.end - EVICTED_LENGTH - PART_LENGTH) is None
