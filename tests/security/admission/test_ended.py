"""A client that has seen the end is told so, and takes nobody's place."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.streams import Grant, StreamRequest, send_stream, stream_channels

Messages = list[dict[str, Any]]


async def served(bridge: Bridge, channel: str, after: str | None) -> tuple[asyncio.Task[None], Messages]:
    sent: Messages = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    response = stream_channels(bridge, channel, StreamRequest(last_event_id=after), grant=Grant(user="ada"))
    task = asyncio.create_task(send_stream(response, receive, send))
    while not sent:
        await asyncio.sleep(0)
    return task, sent


@pytest.mark.parametrize("over_limit", ["reject", "retry", "replace_oldest"])
async def test_it_neither_replaces_a_stream_nor_is_refused(over_limit: str) -> None:
    async with Bridge("memory://", max_streams_per_user=1, over_limit=over_limit) as bridge:
        await bridge.apublish("gone", 1)
        end = await bridge.aclose_channel("gone")
        running, _ = await served(bridge, "goes.on", None)
        told, sent = await served(bridge, "gone", str(end))
        await told
        assert sent[0]["status"] == 204
        assert not running.done()
        assert len(bridge.streams) == len(bridge.loop_hub().admission.state.members) == 1
        running.cancel()
        await asyncio.wait({running})
        assert len(bridge.streams) == 0
