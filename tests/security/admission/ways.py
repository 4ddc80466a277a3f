"""Every way to stream, in this process: an app that streams on the default bridge to the user of ``?user=``, and its client."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.urls import path
from flask import Flask, request
from starlette.requests import Request

from sse_bridge import get_bridge
from sse_bridge.streams import Grant
from sse_bridge_asgi import EventStreamApp, SSEBridgeMiddleware, flask_asgi, send_source
from sse_bridge_channels import EventStreamConsumer, EventWebSocketConsumer, SourceWebSocketConsumer
from sse_bridge_django import event_stream as django_stream
from sse_bridge_flask import SSEBridge
from sse_bridge_flask import event_stream as flask_stream
from sse_bridge_starlette import EventSourceResponse, EventStream
from tests.security.admission.clients import Client, Connect, over_asgi, over_websocket, over_wsgi
from tests.security.admission.reading import Tokens

if not settings.configured:
    settings.configure(ALLOWED_HOSTS=["testserver"])

tokens = Tokens()  # what every source here yields


def granted(query: Any) -> Grant:
    return Grant(user=query["user"])


def _authorize(scope: Any, channels: tuple[str, ...]) -> Grant:
    return granted(dict(parse_qsl(scope["query_string"].decode("latin-1"))))


async def _starlette(scope: Any, receive: Any, send: Any) -> None:
    await EventStream("a", grant=granted(Request(scope).query_params))(scope, receive, send)


def _starlette_source(kind: str, **options: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        more = {"grant": granted(Request(scope).query_params), **options}
        await EventSourceResponse(getattr(tokens, kind), **more)(scope, receive, send)

    return app


def _waiting(app: Any) -> Any:
    """A middleware whose `send` does not return at once, as that of Starlette's BaseHTTPMiddleware."""

    async def around(scope: Any, receive: Any, send: Any) -> None:
        async def later(message: Any) -> None:
            await asyncio.sleep(0)
            await send(message)

        await app(scope, receive, later)

    return around


async def _source_socket(scope: Any, receive: Any, send: Any) -> None:
    await send_source(scope, receive, send, tokens.asynchronous, grant=_authorize(scope, ()))


# by the path: what is streamed, and with which options
_VIEWS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "channels": (None, {}),
    "sync": ("sync", {}),
    "own_thread": ("sync", {"own_thread": True}),
    "async": ("asynchronous", {}),
    "text": ("sync", {"format": "text"}),
    "nobody": ("sync", {"grant": None}),
}


def _streamed(name: str) -> tuple[Any, dict[str, Any]]:
    source, options = _VIEWS[name]
    return "a" if source is None else getattr(tokens, source), options


def _django_view(request: Any, name: str) -> Any:
    streamed, options = _streamed(name)
    return django_stream(request, streamed, **{"grant": granted(request.GET), **options})


urlpatterns = [path("<name>/", _django_view)]


async def _django_asgi(scope: Any, receive: Any, send: Any) -> None:
    async def in_lower_case(message: Any) -> None:
        if "headers" in message:  # which Django writes as in the RFCs, and the spec forbids
            message = {**message, "headers": [(name.lower(), value) for name, value in message["headers"]]}
        await send(message)

    await ASGIHandler()(scope, receive, in_lower_case)


def _django_wsgi(environ: Any, start_response: Any) -> Any:
    # a handler reads the settings when it is made, and those are the test's
    return WSGIHandler()(environ, start_response)


def _flask(*arguments: Any) -> Any:
    flask = Flask(__name__)
    SSEBridge(flask, bridge=get_bridge(), default=False)

    @flask.get("/<name>/")
    def view(name: str) -> Any:
        streamed, options = _streamed(name)
        return flask_stream(streamed, **{"grant": granted(request.args), **options})

    return flask.wsgi_app(*arguments)


@dataclass(frozen=True)
class Way:
    """One way to stream.

    Attributes:
        column: of the table: when the status is said, or what is streamed over the WebSocket.
        name: what is streamed, see `_VIEWS`.
    """

    column: str
    app: Any
    connect: Connect
    name: str = "channels"

    @property
    def source(self) -> bool:
        """An iterable is streamed, and no channel."""
        return self.name != "channels"

    @property
    def tells(self) -> bool:
        """Its format can say why a stream may not open."""
        return self.name != "text"

    @property
    def nobodys(self) -> bool:
        """It is no user's."""
        return self.name == "nobody"

    def stream(self, user: str, **headers: str) -> AbstractAsyncContextManager[Client]:
        return self.connect(self.app, f"/{self.name}/?user={user}", headers, self.tells)


KNOWN, SAID, SOCKET, SOURCE_SOCKET = "status when known", "status first", "WebSocket", "WebSocket of an iterable"
_http, _first = partial(Way, KNOWN, connect=over_asgi), partial(Way, SAID, connect=over_wsgi)
_channels = EventStreamConsumer.as_asgi(get_channels=lambda scope: "a", authorize=_authorize)
_channels_socket = EventWebSocketConsumer.as_asgi(get_channels=lambda scope: "a", authorize=_authorize, origins=["*"])
_channels_source = SourceWebSocketConsumer.as_asgi(
    get_source=lambda scope: tokens.asynchronous, authorize=_authorize, origins=["*"]
)
_asgi = EventStreamApp(channels="a", authorize=_authorize)
_django_handoff, _flask_handoff = SSEBridgeMiddleware(_django_asgi, path=None), flask_asgi(_flask)

WAYS = {
    "asgi": _http(_asgi),
    "asgi behind a middleware": _http(_waiting(_asgi)),
    "starlette": _http(_starlette),
    "channels": _http(_channels),
    "django hand-off": _http(_django_handoff),
    "flask hand-off": _http(_flask_handoff),
    "starlette async source": _http(_starlette_source("asynchronous"), name="async"),
    "starlette sync source": _http(_starlette_source("sync"), name="sync"),
    "starlette source as text": _http(_starlette_source("sync", format="text"), name="text"),
    "starlette source of nobody": _http(_starlette_source("asynchronous", grant=None), name="nobody"),
    "django hand-off source": _http(_django_handoff, name="async"),
    "flask hand-off source": _http(_flask_handoff, name="sync"),
    "flask": _first(_flask),
    "django": _first(_django_wsgi),
    "django asgi": Way(SAID, _django_asgi, over_asgi),
    "django asgi source": Way(SAID, _django_asgi, over_asgi, "async"),
    "flask source": _first(_flask, name="sync"),
    "flask source on its own thread": _first(_flask, name="own_thread"),
    "django async source": _first(_django_wsgi, name="async"),
    "flask source as text": _first(_flask, name="text"),
    "flask source of nobody": _first(_flask, name="nobody"),
    "websocket": Way(SOCKET, _asgi, over_websocket),
    "channels websocket": Way(SOCKET, _channels_socket, over_websocket),
    "websocket source": Way(SOURCE_SOCKET, _source_socket, over_websocket, "async"),
    "channels websocket source": Way(SOURCE_SOCKET, _channels_source, over_websocket, "async"),
}
