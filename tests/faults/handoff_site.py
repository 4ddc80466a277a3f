"""Views that make several streams and return one of them, behind the middleware: Django at /django/, Flask at /flask/.

``?for=<visitor>`` makes three: of the visitor's own channel, of one that nobody may see, and of a source that counts
itself as long as it is open. ``&plan=`` says what is returned: ``own``, ``source``, ``page``, ``error`` or
``replaced``.
"""

from __future__ import annotations

import contextvars
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings

settings.configure(
    SECRET_KEY="of the fault tests", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], INSTALLED_APPS=["sse_bridge_django"],
)  # fmt: skip

import django  # noqa: E402

django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from flask import Flask, Response, request  # noqa: E402

import sse_bridge_django  # noqa: E402
import sse_bridge_flask  # noqa: E402
from sse_bridge import Bridge, configure  # noqa: E402
from sse_bridge_asgi import SSEBridgeMiddleware, flask_asgi  # noqa: E402

bridge = Bridge()
configure(bridge)
visitor: contextvars.ContextVar[str] = contextvars.ContextVar("visitor", default="nobody")


class Source:
    """Says for whom it runs; open until it is closed."""

    open = 0

    def __init__(self) -> None:
        self._left = 1
        Source.open += 1

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._left -= 1
        if self._left < 0:
            raise StopIteration
        return {"event": "source", "data": visitor.get()}

    def close(self) -> None:
        Source.open -= 1


def planned(query: dict[str, str], stream: Callable[[Any], Any], page: Callable[[str], Any]) -> Any:
    visitor.set(query["for"])
    own, source = stream(f"visitor:{query['for']}"), stream(Source())
    stream("secret")  # the last one that is made
    if query["plan"] == "error":
        raise RuntimeError("planned")
    if query["plan"] == "page":
        return page("a page")
    if query["plan"] == "replaced":  # as middleware does that keeps the headers of what it replaces
        replaced = page("a page")
        for name, value in own.headers.items():
            if name.lower() not in ("content-length", "content-type"):
                replaced.headers[name] = value
        return replaced
    return own if query["plan"] == "own" else source


def django_view(django_request: Any) -> Any:
    def stream(of: Any) -> Any:
        # a channel is read from its beginning; a source has none
        return sse_bridge_django.event_stream(
            django_request, of, **({"start": "earliest"} if isinstance(of, str) else {})
        )

    return planned(dict(django_request.GET.items()), stream, HttpResponse)


async def async_django_view(django_request: Any) -> Any:
    return django_view(django_request)


urlpatterns = [path("django/sync/", django_view), path("django/async/", async_django_view)]

flask = Flask(__name__)
sse_bridge_flask.SSEBridge(flask, bridge=bridge)


@flask.get("/flask/sync/")
def flask_view() -> Any:
    def stream(of: Any) -> Any:
        return (
            sse_bridge_flask.event_stream(of, start="earliest")
            if isinstance(of, str)
            else sse_bridge_flask.event_stream(of)
        )

    return planned(dict(request.args.items()), stream, Response)


@flask.get("/flask/async/")
async def async_flask_view() -> Any:
    return flask_view()


django_app = SSEBridgeMiddleware(get_asgi_application(), path=None)
flask_app = flask_asgi(flask)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http" and scope["path"] == "/held":
        hub = bridge.loop_hub()
        body = json.dumps({"sources": Source.open, "streams": len(bridge.streams), "readers": hub.readers()}).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "http" and scope["path"] == "/publish":
        query = dict(parse_qsl(scope["query_string"].decode()))
        await bridge.apublish(query["channel"], query["data"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    else:
        await (flask_app if scope.get("path", "").startswith("/flask/") else django_app)(scope, receive, send)
