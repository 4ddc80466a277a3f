"""Waiting returns the value, asks again until it is there, and says what it waited for."""

from __future__ import annotations

import pytest

from tests.support.wait import astays, await_for, stays, wait_for


def test_returns_the_first_truthy_value() -> None:
    answers = iter([0, None, "yes"])
    assert wait_for(lambda: next(answers)) == "yes"


def test_says_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match=r"waited 0.02 s for the parcel, last value \[\]"):
        wait_for(list, 0.02, what="the parcel")


async def test_the_twin_takes_both_colours() -> None:
    answers = iter([False, True])

    async def condition() -> bool:
        return next(answers)

    assert await await_for(condition)
    assert await await_for(lambda: 5) == 5
    with pytest.raises(AssertionError, match="waited"):
        await await_for(lambda: False, 0.02)


async def test_what_does_not_stay_is_an_error() -> None:
    answers = iter([True, False])
    with pytest.raises(AssertionError, match="expected it to hold"):
        stays(lambda: next(answers))
    await astays(lambda: True, 0.02)
