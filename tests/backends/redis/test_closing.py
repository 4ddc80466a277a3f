"""An asyncio client that is closed gives its connections back, even when whoever closes it gives up waiting."""

from __future__ import annotations

import asyncio

from sse_bridge import Bridge


async def test_a_close_that_is_cancelled_leaves_no_connection_open(redis_url: str) -> None:
    bridge = Bridge(redis_url, prefix="closing")
    await bridge.apublish("a", 1)
    client = next(iter(bridge.backend._sides.values())).client  # type: ignore[attr-defined]
    wires = [wire for idle in client._idle.values() for wire in idle]
    assert wires
    closing = asyncio.ensure_future(bridge.aclose())
    for _ in range(100):
        await asyncio.sleep(0)
        if not client._idle:
            break
    closing.cancel()
    await asyncio.wait([closing])
    assert all(wire.writer.transport.is_closing() for wire in wires)
    await bridge.aclose()
