"""Every fault in its short form; `make guarantees` runs the long one."""

from __future__ import annotations

import pytest

from tests.faults.registry import SHORT, Guarantee, load
from tests.support.requires import require


def _row(row: Guarantee) -> object:
    return pytest.param(row, id=row.id, marks=[pytest.mark.soak] if row.soak else [])


@pytest.mark.parametrize("row", [_row(row) for row in load()])
def test_the_promise_is_kept(row: Guarantee) -> None:
    for name in row.needs:
        require(name)
    tally = row.run(SHORT)
    assert tally.faults, tally
    assert tally.kept, tally
