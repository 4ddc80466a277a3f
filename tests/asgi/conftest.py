"""Bridges for the adapters' tests, and the proof that nothing is left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sse_bridge import Bridge
from tests.support.wait import await_for


def left_behind(bridge: Bridge) -> str:
    """What readers and streams still hold; empty when everything was given back."""
    readers = bridge.loop_hub().readers()
    streams = len(bridge.streams)
    return f"{readers} readers, {streams} streams" if readers or streams else ""


async def nothing_left(bridge: Bridge) -> None:
    await await_for(lambda: not left_behind(bridge), what="everything given back")


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with Bridge("memory://", linger_seconds=0.0) as bridge:
        yield bridge
        assert not left_behind(bridge)
