"""Lifespan events (spec: Lifespan Protocol 2.0) for apps that are a server's root."""

from __future__ import annotations

from sse_bridge.streams import ensure_drain_handler

from .types import Receive, Send


async def serve_lifespan(receive: Receive, send: Send) -> None:
    """Confirms startup and shutdown at once; streams drain on signals, since servers send shutdown after their end."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            ensure_drain_handler()  # after the server has installed its own handlers
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
