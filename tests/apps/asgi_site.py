"""The site that real servers run: a middleware around raw pages, a Django project and a Flask app."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from flask import Flask, Response

from sse_bridge import Bridge, configure
from sse_bridge_asgi import EventStreamApp, SSEBridgeMiddleware, WsgiApp, send_source
from sse_bridge_django import event_stream as django_event_stream
from sse_bridge_flask import SSEBridge
from sse_bridge_flask import event_stream as flask_event_stream

bridge = Bridge(linger_seconds=0.0, heartbeat_seconds=0.5)
configure(bridge)


def django_view(request: HttpRequest, channel: str) -> HttpResponseBase:
    """Sync, so without the hand-off each of its streams would hold a thread."""
    response = django_event_stream(request, channel, last=1)
    response.set_cookie("seen", channel)
    return response


def django_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("django")


settings.configure(
    SECRET_KEY="tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
)
django.setup()
urlpatterns = [path("django/", django_page), path("django/<str:channel>", django_view)]
django_app = get_asgi_application()

flask = Flask(__name__)
SSEBridge(flask, bridge=bridge)


@flask.get("/flask/<channel>")
def flask_view(channel: str) -> Response:
    response = flask_event_stream(channel, last=1)
    response.set_cookie("seen", channel)
    return response


@flask.get("/flask/")
def flask_page() -> str:
    return "flask"


flask_app = WsgiApp(flask)


async def numbers(count: int) -> AsyncIterator[Any]:
    for number in range(count):
        yield {"event": "number", "data": [number, "x" * 1000]}


async def _page(send: Any, value: Any) -> None:
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def pages(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    query = dict(parse_qsl(scope["query_string"].decode()))
    if scope["type"] == "websocket" and scope["path"] == "/numbers":
        await send_source(scope, receive, send, numbers(int(query["count"])), bridge=bridge)
    elif scope["path"].startswith("/django/"):
        await django_app(scope, receive, send)
    elif scope["path"].startswith("/flask/"):
        await flask_app(scope, receive, send)
    elif scope["path"] == "/publish":
        positions = [await bridge.apublish(query["channel"], number) for number in range(int(query.get("count", 1)))]
        await _page(send, [str(position) for position in positions])
    elif scope["path"] == "/close":
        await _page(send, str(await bridge.aclose_channel(query["channel"])))
    elif scope["path"] == "/held":
        readers = bridge.loop_hub().readers()
        tasks = len(asyncio.all_tasks())
        await _page(
            send,
            {
                "readers": readers,
                "streams": len(bridge.streams),
                "threads": threading.active_count(),
                "tasks": tasks,
            },
        )
    else:
        await streams(scope, receive, send)


async def authorize(scope: Any, channels: tuple[str, ...]) -> bool:
    return "forbidden" not in channels


streams = EventStreamApp(bridge, authorize=authorize)
app = SSEBridgeMiddleware(pages, bridge, path="/events/", authorize=authorize)
