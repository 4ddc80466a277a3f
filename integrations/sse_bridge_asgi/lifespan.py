"""Lifespan events (spec: Lifespan Protocol 2.0) for apps that are a server's root."""

from __future__ import annotations

from sse_bridge.streams import ensure_drain_handler

from .types import Receive, Send


async def serve_lifespan(receive: Receive, send: Send) -> None:
    """Startup and shutdown, at once: streams have their own drain, since shutdown comes after their end everywhere."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            ensure_drain_handler()  # the server's own handler is installed by now
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
