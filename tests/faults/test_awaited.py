"""No public call that is awaited can be forgotten when calls are cancelled."""

from __future__ import annotations

from tests.faults.awaited import CANCELLED, EXPLAINED, public_calls


def test_every_public_awaited_call_is_cancelled_or_explained() -> None:
    assert CANCELLED.isdisjoint(EXPLAINED)
    assert public_calls() == CANCELLED | set(EXPLAINED), "add it to CANCELLED and to a row, or explain it"
