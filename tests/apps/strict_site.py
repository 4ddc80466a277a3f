"""Streams in the format sse-data that end early or in order, on ASGI and WSGI: /source/early, /channel/early, /source/whole,
/channel/whole; below /starlette and /base behind middleware that wraps `send`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.routing import Route

from sse_bridge import Bridge
from sse_bridge.streams import (
    Grant,
    StreamRequest,
    ensure_drain_handler,
    lower_headers,
    send_stream,
    stream_channels,
    stream_source,
)
from sse_bridge_starlette import EventSourceResponse, EventStream

bridge = Bridge(heartbeat_seconds=0.1)


def fill() -> None:
    bridge.publish("whole", {"n": 0}, type="a")
    bridge.close_channel("whole")
    bridge.publish("early", {"n": 0}, type="a")


# uvicorn before 0.31 imports an application on its event loop, where publish() refuses.
with ThreadPoolExecutor(1) as pool:
    pool.submit(fill).result()
ensure_drain_handler()


def endless() -> Iterator[Any]:
    yield {"event": "a", "data": {"n": 0}}
    while True:
        time.sleep(0.01)  # paces an app, no test waits for it
        yield {"event": "a", "data": {"n": 0}}


def whole() -> Iterator[Any]:
    yield {"event": "a", "data": {"n": 0}}


def options(how: str) -> dict[str, Any]:
    return {"grant": Grant(expires_at=time.time() + 1) if how == "early" else None, "format": "sse-data"}


def response(path: str, headers: dict[str, str], query: str) -> Any:
    kind, how = path.strip("/").split("/")
    request = StreamRequest.from_http(headers, query)
    if kind == "channel":
        return stream_channels(bridge, how, request, start="earliest", **options(how))
    return stream_source(bridge, endless if how == "early" else whole, request, **options(how))


def endpoint(request: Request) -> Any:
    how = request.path_params["how"]
    if request.path_params["kind"] == "channel":
        return EventStream(how, bridge=bridge, start="earliest", **options(how))
    return EventSourceResponse(endless if how == "early" else whole, bridge=bridge, **options(how))


async def through(request: Request, call_next: Callable[..., Any]) -> Any:
    return await call_next(request)


ROUTES = [Route("/{kind}/{how}", endpoint)]
starlette = Starlette(
    routes=ROUTES,
    middleware=[Middleware(CORSMiddleware, allow_origins=["http://other"]), Middleware(GZipMiddleware)],
)
base = Starlette(routes=ROUTES, middleware=[Middleware(BaseHTTPMiddleware, dispatch=through)])


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    for name, app in (("/starlette", starlette), ("/base", base)):
        if scope["path"].startswith(name):
            await app({**scope, "path": scope["path"].removeprefix(name), "raw_path": b""}, receive, send)
            return
    headers = lower_headers(scope["headers"])
    await send_stream(response(scope["path"], headers, scope["query_string"].decode()), receive, send)


def wsgi(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    headers = {name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
    answer = response(environ["PATH_INFO"], headers, environ["QUERY_STRING"])
    start_response("200 OK", list(answer.headers))
    return answer.bodies.sync_body()
