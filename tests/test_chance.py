"""Jitter neither follows nor disturbs the random module of the program."""

from __future__ import annotations

import random
from unittest.mock import Mock

from sse_bridge import Bridge
from sse_bridge.streams.pacing import Pacing, retry_ms


def test_the_programs_own_random_numbers_stay_what_they_would_be() -> None:
    before = random.getstate()
    with Bridge("memory://") as bridge:
        retry_ms(bridge.settings)
        Pacing(bridge.settings, 0.0)
        bridge.thread_hub().board.failed([], 0.0)
        stream = Mock()
        bridge.streams.add(stream)
        bridge.streams.begin_drain(0.1)
        stream.end_by.assert_called_once()
        bridge.streams.discard(stream)
    assert random.getstate() == before


def test_a_program_that_seeds_its_processes_alike_gets_no_jitter_alike() -> None:
    with Bridge("memory://") as bridge:
        ends = set()
        for _ in range(3):
            random.seed(1)
            ends.add(Pacing(bridge.settings, 0.0).ends_at)
    assert len(ends) == 3
