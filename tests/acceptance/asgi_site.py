"""What uvicorn, hypercorn and daphne serve: channels over SSE and WebSocket at /events, and a page for EventSource at /."""

from __future__ import annotations

from typing import Any

from sse_bridge import Bridge
from sse_bridge_asgi import SSEBridgeMiddleware

PAGE = b"""<!doctype html><meta charset=utf-8><link rel=icon href="data:,"><title>reader</title><script>
const seen = [];
let source = null;
function follow(url, types) {
  source = new EventSource(url);
  for (const type of types) source.addEventListener(type, (e) => seen.push([e.lastEventId, e.type, e.data]));
}
</script>"""


async def page(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": PAGE})


app = SSEBridgeMiddleware(page, Bridge(), path="/events", authorize=lambda scope, channels: True)
