"""The same endless counter for ASGI and WSGI, without sse_bridge: it shows what a server and a helper do by themselves.

The stream counts on from Last-Event-ID, ends at ?until=N, and answers 204 to who has seen that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

PAGE = b"""<!doctype html><meta charset=utf-8><title>ticks</title><p id=out></p><script>
const source = new EventSource('/events?until=5');
source.onmessage = (e) => { document.title = e.lastEventId; };
source.onerror = () => { document.getElementById('out').textContent = 'state ' + source.readyState; };
</script>"""
STREAM_HEADERS = [("content-type", "text/event-stream"), ("cache-control", "no-cache")]
TICK_SECONDS = 0.005


def _frame(number: int) -> bytes:
    return f"id: {number}\ndata: tick {number}\n\n".encode()


def _range(query: str, last_event_id: str) -> range:
    until = int(parse_qs(query).get("until", ["1000000"])[0])
    return range(int(last_event_id or 0) + 1, until + 1)


async def asgi(scope: dict[str, Any], receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    stream = scope["path"] == "/events"
    numbers = _range(scope["query_string"].decode(), headers.get("last-event-id", ""))
    status, content = (204, STREAM_HEADERS) if stream and not numbers else (200, STREAM_HEADERS)
    content = content if stream else [("content-type", "text/html")]
    encoded = [(name.encode(), value.encode()) for name, value in content]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    if not stream:
        await send({"type": "http.response.body", "body": PAGE})
        return
    for number in numbers:
        await send({"type": "http.response.body", "body": _frame(number), "more_body": True})
        await asyncio.sleep(TICK_SECONDS)  # paces an app, no test waits for it
    await send({"type": "http.response.body", "body": b""})


def wsgi(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    if environ["PATH_INFO"] != "/events":
        start_response("200 OK", [("content-type", "text/html")])
        return [PAGE]
    numbers = _range(environ.get("QUERY_STRING", ""), environ.get("HTTP_LAST_EVENT_ID", ""))
    if not numbers:
        start_response("204 No Content", [])
        return []
    start_response("200 OK", STREAM_HEADERS)
    return _ticks(numbers)


def _ticks(numbers: range) -> Iterator[bytes]:
    for number in numbers:
        yield _frame(number)
        time.sleep(TICK_SECONDS)  # paces an app, no test waits for it
