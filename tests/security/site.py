"""One bridge behind every adapter, for real servers: ``tests.security.site:asgi`` and ``tests.security.site:wsgi``.

Each adapter serves channels that the client names, at ``/<adapter>/open`` to everybody and at ``/<adapter>/token`` to who
brings a token; ``/<adapter>/source`` streams items of every visibility. Settings come from the environment.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path
from flask import Flask, Response
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from sse_bridge import Bridge, Event, Visibility, configure
from sse_bridge.tokens import redact_logs

settings.configure(
    SECRET_KEY="tests",
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.gzip.GZipMiddleware", "django.middleware.common.CommonMiddleware"],
)
django.setup()

import sse_bridge_asgi  # noqa: E402
import sse_bridge_channels  # noqa: E402  # needs Django's settings
import sse_bridge_django  # noqa: E402
import sse_bridge_flask  # noqa: E402
import sse_bridge_starlette  # noqa: E402

bridge = Bridge(heartbeat_seconds=0.5, linger_seconds=0.2, drain_seconds=0)
configure(bridge)
redact_logs()
if os.environ.get("SITE_LOGS"):  # everything that we say, and what others say from INFO on
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("sse_bridge").setLevel(logging.DEBUG)

PAGE = b"<!doctype html><meta charset=utf-8><title>ready</title>"


def everybody(of: Any, channels: tuple[str, ...]) -> bool:
    return True


def items() -> Iterator[Event]:
    for visibility in Visibility:
        yield Event("source", f"item-{visibility.value}", visibility=visibility)


# Django: path() cannot hold both apps' prefixes, so the servers strip them
def django_source(request: HttpRequest) -> HttpResponseBase:
    return sse_bridge_django.event_stream(request, items)


urlpatterns = [
    sse_bridge_django.event_stream_path("open", authorize=everybody),
    sse_bridge_django.event_stream_path("token", authorize=sse_bridge_django.by_token(), name=None),
    path("source", django_source),
]

flask_app = Flask(__name__)
flask_sse = sse_bridge_flask.SSEBridge(flask_app, bridge=bridge)
flask_sse.mount("/open", authorize=everybody)
flask_sse.mount("/token", authorize=sse_bridge_flask.by_token(), endpoint="token")


@flask_app.get("/source")
def flask_source() -> Response:
    return sse_bridge_flask.event_stream(items)


async def starlette_stream(request: Request) -> Any:
    authorize = sse_bridge_starlette.by_token() if request.url.path.endswith("token") else everybody
    return sse_bridge_starlette.EventStream(request.query_params.getlist("channel"), authorize=authorize)


async def starlette_source(request: Request) -> Any:
    return sse_bridge_starlette.EventSourceResponse(items)


METHODS = ["GET", "OPTIONS", "POST"]
starlette_app = Starlette(
    routes=[
        Route("/starlette/open", starlette_stream, methods=METHODS),
        Route("/starlette/token", starlette_stream, methods=METHODS),
        Route("/starlette/source", starlette_source, methods=METHODS),
    ]
)

asgi_open = sse_bridge_asgi.EventStreamApp(bridge, authorize=everybody)
asgi_token = sse_bridge_asgi.EventStreamApp(bridge, authorize=sse_bridge_asgi.by_token())
django_asgi = get_asgi_application()
handoff = sse_bridge_asgi.SSEBridgeMiddleware(django_asgi, bridge, path=None)
CONSUMERS = {
    "http": sse_bridge_channels.EventStreamConsumer,
    "websocket": sse_bridge_channels.EventWebSocketConsumer,
}
OF_CHANNELS = {
    (kind, name): consumer.as_asgi(authorize=authorize)
    for kind, consumer in CONSUMERS.items()
    for name, authorize in (("open", everybody), ("token", sse_bridge_channels.by_token()))
}


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    _, adapter, name = (scope["path"] + "//").split("/")[:3]
    if adapter == "asgi":
        await (asgi_token if name == "token" else asgi_open)(scope, receive, send)
    elif adapter == "channels":
        await OF_CHANNELS[scope["type"], name](scope, receive, send)
    elif adapter == "starlette":
        await starlette_app(scope, receive, send)
    elif adapter in ("django", "handoff"):
        inner = {**scope, "path": f"/{name}", "root_path": ""}
        await (django_asgi if adapter == "django" else handoff)(inner, receive, send)
    else:
        headers = [(b"content-type", b"text/html"), (b"set-cookie", b"visitor=1; Path=/")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE})


def page(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/html")])
    return [PAGE]


wsgi = DispatcherMiddleware(page, {"/django": get_wsgi_application(), "/flask": flask_app})
