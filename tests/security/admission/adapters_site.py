"""Every adapter that speaks ASGI behind one server: ``/<adapter>/?channel=…&user=…``, with the grants of `site`."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from django.core.asgi import get_asgi_application
from flask import Flask, Response, request
from starlette.requests import Request

from sse_bridge_asgi import SSEBridgeMiddleware, WsgiApp
from sse_bridge_channels import EventStreamConsumer, EventWebSocketConsumer
from sse_bridge_flask import SSEBridge, event_stream
from sse_bridge_starlette import EventStream
from tests.security.admission.site import asgi, bridge, grant_for


def _authorize(scope: Any, channels: tuple[str, ...]) -> Any:
    return grant_for(dict(parse_qsl(scope["query_string"].decode("latin-1"))))


async def starlette(scope: Any, receive: Any, send: Any) -> None:
    asked = Request(scope, receive)
    response = EventStream(
        asked.query_params["channel"], authorize=lambda request, channels: grant_for(request.query_params)
    )
    await response(scope, receive, send)


flask = Flask(__name__)
SSEBridge(flask, bridge=bridge)


@flask.get("/events/")
def flask_events() -> Response:
    return event_stream(request.args["channel"], authorize=lambda request, channels: grant_for(request.args))


django = get_asgi_application()
apps: dict[str, Any] = {
    "starlette": starlette,
    "channels": EventStreamConsumer.as_asgi(authorize=_authorize),
    "channels-websocket": EventWebSocketConsumer.as_asgi(authorize=_authorize, origins=["*"]),
    "django": django,
    "django-handoff": SSEBridgeMiddleware(django, bridge, path=None),
    "flask-handoff": SSEBridgeMiddleware(WsgiApp(flask), bridge, path=None),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    name = scope.get("path", "").strip("/").partition("/")[0]
    if scope["type"] == "lifespan" or name not in apps:
        await asgi(scope, receive, send)
    else:
        await apps[name]({**scope, "path": "/events/", "root_path": ""}, receive, send)
