"""The soak: its load for a few seconds, and its arithmetic: a slope is found with its interval, noise is not taken for one."""

from __future__ import annotations

import random

import pytest

from tests.faults.soak import RESULT, grows, run, section, slope_of
from tests.support.requires import require

MIB = 2**20


def samples(slope: float, noise: float, seconds: int = 1000) -> list[tuple[float, float]]:
    """A line of so many bytes per second, in noise."""
    chance = random.Random(1)
    return [(float(second), 40 * MIB + slope * second + chance.gauss(0, noise)) for second in range(seconds)]


def test_a_line_is_found() -> None:
    slope = slope_of(samples(5000, 0))
    assert slope.value == pytest.approx(5000)
    assert slope.low == pytest.approx(slope.high)


def test_the_interval_holds_the_slope() -> None:
    slope = slope_of(samples(5000, MIB))
    assert slope.low < 5000 < slope.high
    assert slope.high - slope.low < 5000


@pytest.mark.parametrize(("slope", "expected"), [(0, False), (500, False), (5000, True)])
def test_a_server_grows_when_it_is_certain_and_matters(slope: float, expected: bool) -> None:
    taken = samples(slope, MIB / 2)
    assert grows(taken, slope_of(taken)) is expected


def test_the_load_for_a_few_seconds() -> None:
    """Readers whose streams end and resume meanwhile, and visitors, on one server; no slope is judged by so little."""
    require("redis7")
    tally, samples, resumed, visits = run(4, ("uvicorn",), readers=8, max_stream_seconds=2)
    assert tally.kept, tally
    assert tally.counted >= {"published", "lost", "doubled", "reordered", "gaps"}
    assert tally.published > 20
    assert resumed > 0
    assert visits > 0
    assert [len(taken) for taken in samples] == [4]
    assert min(held for _, held in samples[0]) > MIB


def test_the_section_says_what_the_kept_run_came_to() -> None:
    assert RESULT.exists(), "make soak writes it"
    text = "\n".join(section())
    assert "0 lost" in text
    assert "| uvicorn |" in text
    assert "MiB/h (95 %:" in text
