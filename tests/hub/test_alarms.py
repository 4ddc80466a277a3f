"""Alarms: never early, and at the first tick that is not before them, whatever part of a second the ticks fall on."""

from __future__ import annotations

import pytest

from sse_bridge.hub.schedule import Alarms


def ticks_until(alarms: Alarms[str], first: float, count: int = 4) -> float | None:
    """The tick at which something was woken."""
    return next((first + n for n in range(count) if alarms.take_due(first + n)), None)


@pytest.mark.parametrize("phase", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("when", [0.0, 0.05, 0.1, 0.4, 0.9, 0.95, 1.0, 1.4])
def test_at_the_first_tick_that_is_not_before_it(phase: float, when: float) -> None:
    alarms: Alarms[str] = Alarms()
    alarms.arm("reader", 100 + when)
    woken = ticks_until(alarms, 100 + phase)
    assert woken is not None
    assert woken >= 100 + when
    assert woken - 1 < 100 + when or woken == 100 + phase
    assert len(alarms) == 0


def test_an_earlier_alarm_stays_and_a_later_one_gives_way() -> None:
    alarms: Alarms[str] = Alarms()
    alarms.arm("reader", 105.2)
    alarms.arm("reader", 107.0)
    assert alarms.take_due(105.1) == []
    assert alarms.take_due(105.2) == ["reader"]
    alarms.arm("reader", 107.8)
    alarms.arm("reader", 107.3)
    assert alarms.take_due(107.5) == ["reader"]
    assert alarms.take_due(200) == []


def test_disarmed() -> None:
    alarms: Alarms[str] = Alarms()
    alarms.arm("one", 105.2)
    alarms.arm("other", 105.2)
    alarms.disarm("one")
    alarms.disarm("nobody")
    assert len(alarms) == 1
    assert alarms.take_due(106) == ["other"]


def test_a_tick_that_comes_late_wakes_all_that_were_due() -> None:
    alarms: Alarms[int] = Alarms()
    for second in range(10):
        alarms.arm(second, 100.5 + second)
    assert sorted(alarms.take_due(105.6)) == [0, 1, 2, 3, 4, 5]
    assert len(alarms) == 4
