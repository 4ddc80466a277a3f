"""A stream that is refused holds nothing, although its client never takes the frame that says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.streams import Grant, StreamRequest, StreamResponse, send_stream, stream_channels, stream_source
from tests.support.wait import await_for, wait_for

ADA = Grant(user="ada")


class Source:
    """Of either colour, never ready, and counts how often it was closed."""

    closed = 0

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> Any:
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.closed += 1

    def close(self) -> None:
        self.closed += 1

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> Any:
        raise AssertionError("it may not begin")


def response(bridge: Bridge, kind: str, source: Source) -> StreamResponse:
    if kind == "channels":
        return stream_channels(bridge, "a", StreamRequest(), grant=ADA)
    return stream_source(bridge, source, StreamRequest(), grant=ADA)


def left(bridge: Bridge) -> tuple[int, int]:
    hubs: list[Any] = [*bridge._loop_hubs.values(), *([bridge._thread_hub] if bridge._thread_hub else [])]
    return len(bridge.streams), sum(len(hub.admission.state.members) for hub in hubs)


@pytest.mark.parametrize("kind", ["channels", "source"])
def test_a_sync_body_of_which_the_first_piece_was_taken(kind: str) -> None:
    with Bridge(max_streams_per_user=1, over_limit="retry") as bridge:
        first = stream_channels(bridge, "a", StreamRequest(), grant=ADA).bodies.sync_body()  # type: ignore[union-attr]
        next(first)
        source = Source()
        refused = response(bridge, kind, source).bodies.sync_body()  # type: ignore[union-attr]
        assert b'"limit"' in next(refused)
        assert left(bridge) == (1, 1)
        assert source.closed == (kind == "source")
        first.close()


@pytest.mark.parametrize("kind", ["channels", "source"])
async def test_an_async_body_of_which_the_first_piece_was_taken(kind: str) -> None:
    async with Bridge(max_streams_per_user=1, over_limit="retry") as bridge:
        first = stream_channels(bridge, "a", StreamRequest(), grant=ADA).bodies.async_body()  # type: ignore[union-attr]
        await anext(first)
        source = Source()
        refused = response(bridge, kind, source).bodies.async_body()  # type: ignore[union-attr]
        assert b'"limit"' in await anext(refused)
        assert left(bridge) == (1, 1)
        await await_for(lambda: source.closed == (kind == "source"), what="the source closed")
        await first.aclose()


async def test_one_user_s_blocked_refusals_lock_nobody_out() -> None:
    """Each is given up a moment later, too: no connection waits for a client that takes nothing."""

    async def takes_nothing(message: Any) -> None:
        await asyncio.Event().wait()

    async def takes(message: Any) -> None:
        return None

    async with Bridge(max_streams_per_user=1, max_streams=10, over_limit="retry") as bridge:

        def serve(send: Any) -> asyncio.Task[None]:
            stream = stream_source(bridge, Source(), StreamRequest(), grant=ADA)
            return asyncio.ensure_future(send_stream(stream, asyncio.Event().wait, send))  # type: ignore[arg-type]

        first = serve(takes)
        await await_for(lambda: left(bridge) == (1, 1), what="the first stream")
        refused = [serve(takes_nothing) for _ in range(20)]
        await asyncio.wait(refused)
        assert left(bridge) == (1, 1)
        assert not bridge.streams.full
        first.cancel()
        await asyncio.wait({first})


def test_a_stream_that_was_cut_never_looks_complete() -> None:
    with Bridge(compression="gzip") as bridge:
        request = StreamRequest.from_http({"accept-encoding": "gzip"})
        body = stream_channels(bridge, "a", request, format="sse-data").bodies.sync_body()  # type: ignore[union-attr]
        next(body)
        bridge.streams.begin_drain(0.0)
        wait_for(lambda: _raises(body), what="the cut")
        assert _raises(body), "asked again, it says the same"
        body.close()


def _raises(body: Any) -> bool:
    try:
        next(body)
    except ConnectionResetError:
        return True
    return False
