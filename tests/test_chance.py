"""Jitter is not drawn from the random module's own generator, which programs seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from sse_bridge import Bridge
from sse_bridge.streams.pacing import Pacing, retry_ms


def drained_at(bridge: Bridge) -> float:
    stream = Mock()
    bridge.streams.add(stream)
    bridge.streams.begin_drain(1e9)  # so long that the clock does not matter
    bridge.streams.discard(stream)
    return round(stream.end_by.call_args.args[0], -3)


def read_again_at(bridge: Bridge) -> float:
    board = bridge.thread_hub().board
    board._backoff = 0.0
    board.failed([], 0.0)
    return board._reads_from


DRAWS = [
    lambda bridge: retry_ms(bridge.settings),
    lambda bridge: Pacing(bridge.settings, 0.0).ends_at,
    drained_at,
    read_again_at,
]


@pytest.mark.parametrize("draw", DRAWS, ids=["retry", "lifetime", "drain", "backoff"])
def test_processes_that_are_seeded_alike_get_no_jitter_alike(draw: Callable[[Bridge], float]) -> None:
    drawn = set()
    with Bridge("memory://") as bridge:
        for _ in range(5):
            random.seed(1)
            drawn.add(draw(bridge))
    assert len(drawn) > 1
