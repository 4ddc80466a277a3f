"""An asyncio client that is closed gives its connections back, even when whoever closes it gives up waiting."""

from __future__ import annotations

import asyncio

import pytest
import redis

from sse_bridge import Bridge
from tests.support.wait import await_for


async def test_a_close_that_is_cancelled_leaves_no_connection_open(redis_url: str) -> None:
    bridge = Bridge(redis_url, prefix="closing")
    await bridge.apublish("a", 1)
    client = next(iter(bridge.backend._sides.values())).client  # type: ignore[attr-defined]
    connections = [connection for idle in client._idle.values() for connection in idle]
    assert connections
    closing = asyncio.ensure_future(bridge.aclose())
    for _ in range(100):
        await asyncio.sleep(0)
        if not client._idle:
            break
    closing.cancel()
    await asyncio.wait([closing])
    assert all(connection.writer.transport.is_closing() for connection in connections)
    await bridge.aclose()


async def test_a_connection_that_has_ended_is_not_waited_for(redis_url: str, admin: redis.Redis) -> None:
    """Its end was told to whoever had it before; the next one would hear nothing for ever."""
    bridge = Bridge(redis_url, prefix="closing")
    await bridge.apublish("a", 1)
    client = next(iter(bridge.backend._sides.values())).client  # type: ignore[attr-defined]
    connection = await client.connect_primary()
    admin.client_kill_filter(_id=await connection.ask(("CLIENT", "ID"), 5))
    await await_for(connection.reader.at_eof)
    with pytest.raises(EOFError):
        connection.hand_over(asyncio.Protocol())
    connection.abort()
    await bridge.aclose()
