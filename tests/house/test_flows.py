"""Each flow is measured, from its beginning to its end, and every time the same."""

from __future__ import annotations

from tests.house.flows import Flows, measure
from tests.house.table import flow_rows, shape_rows, text_table
from tests.house.tracing import Step


def named(steps: list[Step]) -> list[str]:
    return [step.name for step in steps if step.begins]


def test_three_rounds_are_equal_and_whole() -> None:
    first, *others = measure(3)
    for other in others:
        for flow, one, another in zip(Flows._fields, first, other, strict=True):
            assert one == another, flow
    assert named(first.opening)[0] == "EventStreamApp.__call__"
    assert "judge" in named(first.opening), "the position of the Last-Event-ID was looked at"
    assert named(first.revocation)[0] == "Revocations.arevoke"
    assert named(first.publishing)[0] == "Bridge.apublish"
    assert "Bridge.apublish" not in named(first.reading)
    for flow in (first.opening, first.revocation, first.reading):
        assert any(step.room.startswith("sse_bridge/streams") for step in flow)


def test_the_table_has_every_row() -> None:
    rows = [*flow_rows(), *shape_rows()]
    assert all(row.now > 0 for row in rows if row.start > 0 and row.reach != "0"), rows
    lines = text_table(rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert lines[1].split()[-4:] == [f"{rows[0].start:g}", f"{rows[0].now:g}", "≤", "45"]
