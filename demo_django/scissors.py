"""Cuts connections in the middle, as a bad network would: the only part of the demo that means harm.

A page names itself with ``?client=…``. When ``cut:<client>`` gets an event, its requests are dropped without an end, so
the server closes their sockets with half a response sent. It follows that channel over the bridge, since with several
web workers the button's request and the stream are rarely in the same process.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from sse_bridge import get_bridge

logger = logging.getLogger("demo_django")


class Scissors:
    """ASGI middleware; outermost, so that nothing between it and the server can end the response properly."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            client = ""
        else:
            client = parse_qs(scope["query_string"].decode("latin-1")).get("client", [""])[0]
        if not client.isalnum():
            await self.app(scope, receive, send)
            return
        request = asyncio.ensure_future(self.app(scope, receive, send))
        async with get_bridge().asubscribe(f"cut:{client}") as cuts:
            cut = asyncio.ensure_future(cuts.next())
            try:
                await asyncio.wait({request, cut}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                was_cut = not request.done()
                for task in (request, cut):
                    task.cancel()
                await asyncio.wait({request, cut})
        if not was_cut:
            request.result()
            return
        if scope["type"] == "websocket":  # some servers leave one open when the application returns
            with suppress(OSError, RuntimeError):
                await send({"type": "websocket.close", "code": 1012})
        logger.warning("cut off %s: what the server says of an incomplete response is meant", scope["path"])
