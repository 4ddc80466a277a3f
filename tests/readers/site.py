"""What the readers follow: channels at /events and a page for browsers, and what the test does to the log, over HTTP.

The bridge is the server's own, so the memory backend can be read as well as Redis. Every request for /events is
remembered by its Host, which is the reader's own proxy.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any
from urllib.parse import parse_qsl

from sse_bridge import Bridge
from sse_bridge_asgi import SSEBridgeMiddleware
from tests.acceptance.asgi_site import page

bridge = Bridge()
events = SSEBridgeMiddleware(page, bridge, path="/events", authorize=lambda scope, channels: True)
asked: dict[str, list[str]] = defaultdict(list)


async def _answer(send: Any, value: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        await events(scope, receive, send)
        return
    query = dict(parse_qsl(scope["query_string"].decode()))
    if scope["path"] == "/publish":
        rows = range(int(query["first"]), int(query["first"]) + int(query["count"]))
        positions = [await bridge.apublish(query["channel"], {"n": n}, type="row") for n in rows]
        await _answer(send, {str(position): {"n": n} for n, position in zip(rows, positions, strict=True)})
    elif scope["path"] == "/history":
        kept = await bridge.ahistory(query["channel"], limit=10_000)
        await _answer(send, [event.id for event in kept if event.type == "row"])
    elif scope["path"] == "/close":
        await bridge.aclose_channel(query["channel"], reason="completed")
        await _answer(send, {})
    elif scope["path"] == "/asked":
        await _answer(send, asked)
    else:
        if scope["path"] == "/events":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            asked[headers["host"]].append(headers.get("last-event-id", ""))
        await events(scope, receive, send)
