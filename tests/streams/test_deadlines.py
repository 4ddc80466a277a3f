"""When a stream speaks and ends, as a function of the time; and that no wait is infinite where heartbeats are off."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge import Bridge
from sse_bridge.config import Settings
from sse_bridge.streams import StreamRequest, stream_channels, stream_source
from sse_bridge.streams.lifecycle.ending import SELDOM_SECONDS, Deadlines


def test_heartbeats_come_after_silence_only() -> None:
    deadlines = Deadlines(Settings(heartbeat_seconds=2))
    assert (deadlines.due(9.0), deadlines.next()) == (None, math.inf)
    deadlines.open(10.0, 100)
    assert (deadlines.due(11.9), deadlines.due(12.0), deadlines.next()) == (None, "heartbeat", 12.0)
    deadlines.wrote_at = 12.0
    assert (deadlines.due(13.9), deadlines.next()) == (None, 14.0)
    assert deadlines.due(110.0) == "lifetime"


def test_without_heartbeats_a_stream_ends_as_ever() -> None:
    month = Settings.model_fields["max_stream_seconds"].metadata
    assert max(getattr(bound, "le", 0) for bound in month) <= SELDOM_SECONDS
    deadlines = Deadlines(Settings(heartbeat_seconds=0))
    deadlines.open(0.0, 1000, expires_at=900.0)
    assert deadlines.due(799.0) is None
    assert 800.0 <= deadlines.next() <= 900.0
    deadlines.end_at(500.0, "revoked")
    assert (deadlines.next(), deadlines.due(500.0)) == (500.0, "revoked")
    source = Deadlines(Settings(heartbeat_seconds=0))
    source.open(0.0)
    assert math.isfinite(source.next())
    assert source.due(source.next() - 1) is None


told = st.tuples(st.floats(0, 100), st.sampled_from(("drain", "replaced", "revoked", "unavailable")))
expiry = st.none() | st.floats(0, 100)


@given(st.lists(told), st.floats(0, 100), st.lists(told | expiry))
def test_the_first_of_what_holds_is_the_end(before: list[Any], lifetime: float, then: list[Any]) -> None:
    """Ends that were told before it opened count, and of credentials the last ones only."""
    deadlines = Deadlines(Settings())
    for when, why in before:
        deadlines.end_at(when, why)
    deadlines.open(0.0, lifetime)
    ends, expires_at = [when for when, _ in before], None
    for one in then:
        if isinstance(one, tuple):
            deadlines.end_at(*one)
            ends.append(one[0])
        else:
            deadlines.expire_at(one)
            expires_at = one
    told_first = min([*ends, math.inf if expires_at is None else expires_at])
    assert min(told_first, 0.8 * lifetime) <= deadlines.ends_at <= min(told_first, lifetime)
    assert deadlines.given_up_at() > deadlines.ends_at
    reasons = {
        why for when, why in [*before, *[each for each in then if isinstance(each, tuple)]] if when == deadlines.ends_at
    }
    assert deadlines.due(deadlines.ends_at) in reasons | {"lifetime", "expired"}
    if told_first < 0.8 * lifetime:
        assert deadlines.due(told_first) in reasons | ({"expired"} if expires_at == told_first else set())


@pytest.mark.parametrize("own_thread", [False, True])
def test_a_sync_stream_waits_without_heartbeats(own_thread: bool) -> None:
    go = threading.Event()

    def source() -> Iterator[str]:
        yield "a"
        assert go.wait(20)
        yield "b"

    with Bridge("memory://", heartbeat_seconds=0) as bridge:
        response = stream_source(bridge, source(), StreamRequest(format="sse"), own_thread=own_thread)
        assert response.bodies is not None
        body = response.bodies.sync_body()
        said = b""
        while b"data: a" not in said:
            said += next(body)
        threading.Timer(0.05, go.set).start()
        said += b"".join(body)
        body.close()
    assert b"data: b" in said
    assert b"stream.end" in said
    assert b": " not in said.replace(b"data: ", b"").replace(b"event: ", b"").replace(b"id: ", b"").replace(
        b"retry: ", b""
    )


async def test_async_streams_wait_without_heartbeats() -> None:
    go = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        await go.wait()
        yield "b"

    async with Bridge("memory://", heartbeat_seconds=0, max_stream_seconds=0.2) as bridge:
        asyncio.get_running_loop().call_later(0.05, go.set)
        for response, last in (
            (stream_source(bridge, source(), StreamRequest(format="sse")), b"stream.end"),
            (stream_channels(bridge, "a", StreamRequest()), b"stream.close"),
        ):
            assert response.bodies is not None
            body = response.bodies.async_body()
            assert last in b"".join([piece async for piece in body])
            body.close()
