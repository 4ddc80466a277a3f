"""Sources as streams on ASGI and WSGI without a framework; `/ended` tells which sources were closed.

/<what>/<colour>?format=…: what = count, endless, silent or failing, colour = sync, own (a thread of its own) or async.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from sse_bridge import Bridge
from sse_bridge.streams import StreamRequest, ensure_drain_handler, lower_headers, send_stream, stream_source

bridge = Bridge(heartbeat_seconds=0.2)
ended: list[str] = []
blocked = threading.Event()
ensure_drain_handler()


def sync_source(what: str, colour: str) -> Iterator[Any]:
    try:
        for n in range(5 if what in ("count", "failing") else 10**9):
            if what == "silent":
                blocked.wait(30)
            yield {"event": "n", "data": n}
            time.sleep(0.01)  # paces an app, no test waits for it
        if what == "failing":
            raise RuntimeError("told to fail")
    finally:
        ended.append(f"{what}/{colour}")


async def async_source(what: str, colour: str) -> AsyncIterator[Any]:
    try:
        for n in range(5 if what in ("count", "failing") else 10**9):
            if what == "silent":
                await asyncio.Event().wait()
            yield {"event": "n", "data": n}
            await asyncio.sleep(0.01)  # paces an app, no test waits for it
        if what == "failing":
            raise RuntimeError("told to fail")
    finally:
        await asyncio.sleep(0)
        ended.append(f"{what}/{colour}")


def response(path: str, headers: dict[str, str], query: str) -> Any:
    what, _, colour = path.strip("/").partition("/")
    source = async_source if colour == "async" else sync_source
    request = StreamRequest.from_http(headers, query)
    return stream_source(bridge, lambda: source(what, colour), request, own_thread=colour == "own")


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if scope["path"] == "/ended":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps([ended, len(bridge.streams)]).encode()})
        return
    headers = lower_headers(scope["headers"])
    await send_stream(response(scope["path"], headers, scope["query_string"].decode()), receive, send)


def wsgi(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/ended":
        start_response("200 OK", [])
        return [json.dumps([ended, len(bridge.streams)]).encode()]
    headers = {name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
    answer = response(environ["PATH_INFO"], headers, environ["QUERY_STRING"])
    start_response({200: "200 OK", 204: "204 No Content"}[answer.status], list(answer.headers))
    return answer.bodies.sync_body() if answer.bodies else []
