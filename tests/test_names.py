"""Caches by channel names stay within bytes, whatever the names are that a request brings."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from sse_bridge.backends.redis.keys import Keys
from sse_bridge.errors import InvalidChannel, InvalidEventType
from sse_bridge.events import NAME_CACHE_BYTES, channel_key, check_channel, check_type

COUNT = 20_000  # more than fit into any of the caches


def kept_by(work: Callable[[], None]) -> int:
    """The bytes that are still there when it has returned."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "function", [check_channel, channel_key, Keys("p" * 64, 15).of], ids=["check_channel", "channel_key", "keys"]
)
def test_what_is_known_of_the_longest_names_is_bounded(function: Callable[[str], object]) -> None:
    def ask() -> None:
        for number in range(COUNT):
            function(f"{number:x<200}")

    assert NAME_CACHE_BYTES / 4 < kept_by(ask) < NAME_CACHE_BYTES


@pytest.mark.parametrize("check", [check_channel, check_type])
def test_nothing_is_kept_of_what_is_no_name(check: Callable[[str], str]) -> None:
    def ask() -> None:
        for number in range(1000):
            with pytest.raises((InvalidChannel, InvalidEventType)):
                check(f"{number:x<20000}")

    assert kept_by(ask) < 2**20
