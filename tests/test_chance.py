"""Jitter is not drawn from the random module's own generator, which programs seed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from sse_bridge import Bridge
from sse_bridge.hub.state import HubState
from sse_bridge.runtime.chance import CHANCE
from sse_bridge.streams.lifecycle.ending import Deadlines, retry_ms


def drained_at(bridge: Bridge) -> float:
    stream = Mock()
    bridge.streams.add(stream)
    bridge.streams.begin_drain(1e9)  # so long that the clock does not matter
    bridge.streams.discard(stream)
    return round(stream.end_by.call_args.args[0], -3)


def read_again_at(bridge: Bridge) -> float:
    state = HubState(bridge.settings)
    state.failed([state.feed("a")], 0.0)
    when = state.next_read_at()
    assert when is not None
    return when


def ends_at(bridge: Bridge) -> float:
    deadlines = Deadlines(bridge.settings)
    deadlines.open(0.0, 1000)
    return deadlines.ends_at


DRAWS = [
    lambda bridge: retry_ms(bridge.settings),
    ends_at,
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


def drawn_in_a_child() -> bytes:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, CHANCE.random().hex().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        drawn = pipe.read()
    os.waitpid(child, 0)
    return drawn


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks of POSIX")
def test_children_get_no_jitter_alike() -> None:
    assert len({drawn_in_a_child() for _ in range(3)}) == 3


def test_a_bridge_that_begins_in_a_process_without_fork_hooks_gets_a_seed_of_its_own() -> None:
    """uWSGI forks so: to its child the generator's state is the parent's."""
    drawn = set()
    with Bridge("memory://") as bridge:
        inherited = CHANCE.getstate()
        for _ in range(3):
            CHANCE.setstate(inherited)
            bridge._pid = -1  # a parent's
            bridge._check_open()
            drawn.add(CHANCE.random())
    assert len(drawn) == 3
