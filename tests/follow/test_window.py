"""The shared window: serials that only grow, eviction by bytes, and what the checks of evicted entries can prove."""

from __future__ import annotations

from sse_bridge.events import Entry
from sse_bridge.follow.evicted_checks import EVICTED_LENGTH
from sse_bridge.follow.window import RECORD_BYTES, Window
from sse_bridge.records.codec import record_of
from sse_bridge.records.continuity import Point

from .test_continuity import EPOCH, chain


def ephemeral(offset: int) -> Entry:
    return Entry(EPOCH, offset, f"x{offset}".encode(), b"e", 0, "l", "J", "t", b"1", stored=False)


def filled(last: int, max_bytes: int = 10**9) -> Window:
    window = Window(Point(EPOCH, 0, b"x0"), max_bytes)
    for entry in chain(1, last):
        window.push(entry)
    return window


def test_locate_proves_the_point() -> None:
    window = filled(5)
    assert window.locate(Point(EPOCH, 0, b"x0")) == 0
    assert window.locate(Point(EPOCH, 3, b"x3")) == 3
    assert window.locate(Point(EPOCH, 5, b"x5")) == 5 == window.end_serial
    for other in (Point(EPOCH, 3, b"y3"), Point(EPOCH, 5, b"y5"), Point(EPOCH, 6, b"x6"), Point(b"old", 3, b"x3")):
        assert window.locate(other) is None


def test_locate_passes_ephemerals_that_came_before() -> None:
    window = filled(2)
    window.push(ephemeral(2))
    window.push(chain(3, 3)[0])
    place = window.locate(Point(EPOCH, 2, b"x2"))
    assert place is not None
    assert next(window.items.since(place)).offset == 3
    assert window.head.offset == 3


def test_eviction_keeps_serials_and_a_trail() -> None:
    window = filled(100, max_bytes=10 * 402)
    assert 10 <= len(window.items) < 60  # records take less than objects
    assert window.end_serial == 100
    assert window.base.offset == 100 - len(window.items)
    assert window.locate(Point(EPOCH, 50, b"x50")) is None
    assert window.missed(Point(EPOCH, 50, b"x50"), 60) == ["u"] * 10
    assert window.missed(Point(EPOCH, 50, b"x50"), 98) == ["u"] * 48
    assert window.missed(Point(EPOCH, 50, b"y50"), 60) is None
    assert window.remembers(Point(EPOCH, 50, b"x50")) is True
    assert window.remembers(Point(EPOCH, 50, b"y50")) is False
    assert window.remembers(Point(EPOCH, 99, b"x99")) is True
    assert window.remembers(Point(EPOCH, 101, b"x101")) is None


def test_the_trail_is_bounded() -> None:
    window = filled(EVICTED_LENGTH + 500, max_bytes=2000)
    assert window.missed(Point(EPOCH, 1, b"x1"), 100) is None
    assert window.missed(Point(EPOCH, 1000, b"x1000"), 1001) == ["u"]


def test_restart_leaves_no_cursor_valid() -> None:
    window = filled(5)
    end = window.end_serial
    window.restart(Point(EPOCH, 9, b"x9"))
    assert window.first_serial > end
    assert window.missed(Point(EPOCH, 2, b"x2"), 3) is None
    for entry in chain(10, 11):
        window.push(entry)
    assert window.locate(Point(EPOCH, 10, b"x10")) == window.first_serial + 1


def test_extend_down_takes_only_what_leads_up_to_the_base() -> None:
    window = Window(Point(EPOCH, 5, b"x5"), 10**6)
    window.push(chain(6, 6)[0])
    window.extend_down(chain(1, 4))
    assert window.base.offset == 5
    window.extend_down(chain(2, 5))
    assert window.base.offset == 1
    assert [entry.offset for entry in window.items.since(window.first_serial)] == [2, 3, 4, 5, 6]
    assert window.end_serial == 1
    assert window.locate(Point(EPOCH, 3, b"x3")) == window.first_serial + 2


def test_extend_down_stays_in_bounds() -> None:
    window = Window(Point(EPOCH, 50, b"x50"), 10 * (len(record_of(chain(50, 50)[0])) + RECORD_BYTES))
    window.extend_down(chain(1, 50))
    assert len(window.items) == 10
    assert window.base.offset == 40


def test_what_was_evicted_does_not_come_back_under_other_serials() -> None:
    """A cursor that slept stands before an ephemeral item; entries in front again would all be one serial off."""
    window = filled(5, max_bytes=10 * 402)
    window.push(ephemeral(5))
    asleep = window.end_serial - 1
    window.push(Entry(EPOCH, 6, b"x5", b"x6", 0, "u", "J", "t", b"1" * 2000))
    while window.base.offset < 6:
        window.push(chain(window.head.offset + 1, window.head.offset + 1)[0])
    window.extend_down(chain(1, 6))
    assert not window.first_serial <= asleep <= window.end_serial
