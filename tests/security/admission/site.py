"""One site in three shapes, for the servers of these tests: ``asgi``, ``flask_app`` and ``django_wsgi``.

``/events/?channel=…&user=…`` streams; so does ``/tokens/?user=…`` what an iterable yields without end (``flood``: at once); who comes without a user is nobody in particular, and ``user=expired`` has a login
that is over. ``/held`` says how many streams this process holds, ``/page`` is an empty page for a browser.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qsl

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import path
from flask import Flask, Response, jsonify, request

from sse_bridge import Bridge, configure
from sse_bridge.errors import NotAuthenticated, SSEBridgeError
from sse_bridge.streams import Grant, refusal, scope_request, send_refusal, send_stream, stream_source
from sse_bridge_asgi import EventStreamApp
from sse_bridge_django import event_stream as django_stream
from sse_bridge_flask import SSEBridge, event_stream

bridge = Bridge()
configure(bridge)


def grant_for(query: Any) -> Grant:
    user = query.get("user")
    if user == "expired":
        raise NotAuthenticated("the login has expired")
    seconds = query.get("expires")
    return Grant(user=user, expires_at=None if seconds is None else time.time() + float(seconds))


async def tokens() -> AsyncIterator[str]:
    while True:
        yield "token"
        await asyncio.sleep(0.1)


async def flood() -> AsyncIterator[str]:
    while True:
        yield "x" * 50_000


def sync_tokens() -> Iterator[str]:
    while True:
        yield "token"
        time.sleep(0.1)


async def _asgi_tokens(scope: Any, receive: Any, send: Any) -> None:
    try:
        source = flood if b"flood" in scope["query_string"] else tokens
        response = stream_source(bridge, source, scope_request(scope), grant=_authorize(scope, ()))
    except SSEBridgeError as error:
        await send_refusal(refusal(error), send)
    else:
        await send_stream(response, receive, send)


def _authorize(scope: Any, channels: tuple[str, ...]) -> Grant:
    return grant_for(dict(parse_qsl(scope["query_string"].decode("latin-1"))))


streams = EventStreamApp(bridge, authorize=_authorize)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http" and scope["path"] in ("/held", "/page"):
        page = scope["path"] == "/page"
        body = b"<!doctype html><title>page</title>" if page else json.dumps(len(bridge.streams)).encode()
        kind = b"text/html" if page else b"application/json"
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "http" and scope["path"] == "/tokens/":
        await _asgi_tokens(scope, receive, send)
    else:
        await streams(scope, receive, send)


flask_app = Flask(__name__)
SSEBridge(flask_app, bridge=bridge)


@flask_app.get("/events/")
def flask_events() -> Response:
    return event_stream(request.args["channel"], authorize=lambda request, channels: grant_for(request.args))


@flask_app.get("/tokens/")
def flask_tokens() -> Response:
    return event_stream(sync_tokens, grant=grant_for(request.args))


@flask_app.get("/held")
def flask_held() -> Response:
    return jsonify(len(bridge.streams))


def django_events(request: HttpRequest) -> HttpResponseBase:
    return django_stream(request, request.GET["channel"], authorize=lambda request, channels: grant_for(request.GET))


def django_tokens(request: HttpRequest) -> HttpResponseBase:
    source = tokens if "async" in request.GET else sync_tokens
    return django_stream(request, source, grant=grant_for(request.GET))


settings.configure(SECRET_KEY="tests", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[])
django.setup()
urlpatterns = [
    path("events/", django_events),
    path("tokens/", django_tokens),
    path("held", lambda request: JsonResponse(len(bridge.streams), safe=False)),
]
django_wsgi = get_wsgi_application()
