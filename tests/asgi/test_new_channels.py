"""A client that names new channels for ever fills nothing, and takes nobody's log."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from sse_bridge import Bridge
from sse_bridge.events import new_token
from sse_bridge_asgi import EventStreamApp
from tests.asgi.strict_server import Http, WebSocket
from tests.support.wait import await_for

OURS = [f"ours:{number}" for number in range(10)]


@pytest.fixture(params=["memory", "redis"])
async def small_bridge(request: pytest.FixtureRequest) -> AsyncIterator[Bridge]:
    """A bridge that may keep as many logs as the application has, and a client whose messages are not counted."""
    settings: dict[str, Any] = {"memory_max_channels": len(OURS)}
    if request.param == "redis":
        settings = {"url": request.getfixturevalue("redis_url"), "prefix": f"t{new_token().decode()}"}
    async with Bridge(linger_seconds=0.0, max_websocket_messages_per_second=1e6, **settings) as bridge:
        yield bridge


def everybody(scope: Any, channels: tuple[str, ...]) -> bool:
    return True


def kept(bridge: Bridge) -> set[str]:
    if bridge.backend.name == "memory":
        return set(bridge.backend._logs)  # type: ignore[attr-defined]
    with redis.Redis.from_url(bridge.settings.url) as client:
        keys = [key.decode() for key in client.keys(f"{bridge.settings.prefix}:0:*")]
    return {key.partition("{")[2].partition("}")[0] for key in keys}


async def test_over_a_websocket(small_bridge: Bridge) -> None:
    for name in OURS:
        await small_bridge.apublish(name, 1)
    async with WebSocket(EventStreamApp(small_bridge, authorize=everybody)) as client:
        for number in range(300):
            for kind in ("subscribe", "unsubscribe"):
                client.say(json.dumps({"type": kind, "channels": [f"new:{number}"]}))
                assert json.loads(await client.take())["type"] == "stream.open"
        assert kept(small_bridge) == set(OURS)
    await await_for(lambda: not small_bridge.loop_hub().state.feeds, what="forgotten feeds")
    assert [len(await small_bridge.ahistory(name)) for name in OURS] == [1] * len(OURS)


async def test_over_sse(small_bridge: Bridge) -> None:
    for name in OURS:
        await small_bridge.apublish(name, 1)
    app = EventStreamApp(small_bridge, authorize=everybody)
    for number in range(60):
        async with Http(app, f"/?channel=new:{number}&channel=newer:{number}") as client:
            await client.read_until(b"\n\n")
    assert kept(small_bridge) == set(OURS)
    assert [len(await small_bridge.ahistory(name)) for name in OURS] == [1] * len(OURS)
