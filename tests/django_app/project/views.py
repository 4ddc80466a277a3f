"""The site's views; every stream exists as a sync view and as an async one."""

import json
import threading

from django.core.exceptions import PermissionDenied
from django.db import connection, connections, transaction
from django.http import HttpRequest, JsonResponse

from sse_bridge import ByVisibility, get_bridge
from sse_bridge.errors import NotAuthenticated
from sse_bridge.streams import Grant
from sse_bridge_django import EventStreamView, apublish, event_stream, publish, publish_on_commit


def events(request: HttpRequest, channel: str):
    response = event_stream(request, channel)
    response.set_cookie("seen", "yes")
    response["X-View"] = "sync"
    return response


async def async_events(request: HttpRequest, channel: str):
    response = event_stream(request, channel)
    response.set_cookie("seen", "yes")
    response["X-View"] = "async"
    return response


def publish_view(request: HttpRequest, channel: str):
    return JsonResponse(
        {"id": str(publish(channel, json.loads(request.body), visibility=request.GET.get("visibility", "user_facing")))}
    )


async def apublish_view(request: HttpRequest, channel: str):
    return JsonResponse({"id": str(await apublish(channel, json.loads(request.body)))})


def close(request: HttpRequest, channel: str):
    return JsonResponse({"id": str(get_bridge().close_channel(channel))})


def commit(request: HttpRequest, channel: str):
    """Publishes "inside" before the transaction ends, and "later" when it is committed; ?rollback=1 takes it back."""
    try:
        with transaction.atomic():
            publish_on_commit(channel, "later")
            publish(channel, "inside")
            if "rollback" in request.GET:
                raise ValueError("taken back")
    except ValueError:
        pass
    return JsonResponse({})


def broken(request: HttpRequest, channel: str):
    """?kind=robust: the publish after the commit fails, and Django logs it; else it is raised."""
    with transaction.atomic():
        publish_on_commit(channel, object(), robust=request.GET["kind"] == "robust")
        publish_on_commit(channel, "after the failure")
    return JsonResponse({})


def numbers(count: int):
    for number in range(count):
        yield {"event": "count", "data": number}


async def anumbers(count: int):
    for number in range(count):
        yield {"event": "count", "data": number}


def failing():
    yield "well"
    raise RuntimeError("a secret")


SOURCES = {
    "list": lambda: [{"event": "count", "data": 0}, {"event": "count", "data": 1}],
    "generator": lambda: numbers(2),
    "asyncgenerator": lambda: anumbers(2),
    "function": lambda: lambda: numbers(2),
    "endless": lambda: numbers(10**9),
    "failing": failing,
    "mistake": lambda: 42,
}


def source(request: HttpRequest, name: str):
    return event_stream(request, SOURCES[name]())


async def async_source(request: HttpRequest, name: str):
    return event_stream(request, SOURCES[name]())


class Wrapped:
    """As Django REST framework wraps requests."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def __getattr__(self, name: str):
        return getattr(self._request, name)


def wrapped(request: HttpRequest, channel: str):
    return event_stream(Wrapped(request), channel)


def _redact(piece: bytes) -> bytes:
    return piece.replace(b'"n"', b'"*"')


def redacted(request: HttpRequest, channel: str):
    """What middleware may do to every piece of a body under WSGI; the number of bytes stays the same."""
    response = event_stream(request, channel)
    response.streaming_content = map(_redact, response.streaming_content)
    return response


def after_query(request: HttpRequest, channel: str):
    """A view that used the database before it streams."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return event_stream(request, channel)


def debug(request: HttpRequest):
    """What the process holds now."""
    bridge = get_bridge()
    hubs = [*bridge._loop_hubs.values(), *([bridge._thread_hub] if bridge._thread_hub else [])]
    return JsonResponse(
        {
            "streams": len(bridge.streams),
            "readers": sum(hub.readers() for hub in hubs),
            "pushed": sum(len(hub.cohorts.members()) for hub in hubs),
            "feeds": sum(len(hub.board.feeds) for hub in hubs),
            "threads": threading.active_count(),
            "opened": opened,
        }
    )


def authorize(request: HttpRequest, channels):
    """?token= decides: nobody, somebody, staff (sees everything), banned."""
    token = request.GET.get("token")
    if token is None:
        raise NotAuthenticated("a token is needed")
    if token == "banned":
        raise PermissionDenied
    if token == "staff":
        return Grant(user="staff", filter=ByVisibility("user_facing", "internal_only"))
    return all(channel.startswith(f"{token}:") for channel in channels)


async def aauthorize(request: HttpRequest, channels):
    return authorize(request, channels)


class Own(EventStreamView):
    """The server chooses the channels, from the URL."""

    def get_channels(self):
        return [f"orders:{self.kwargs['number']}", "news"]


class Chosen(EventStreamView):
    channels_from_query = True

    async def authorize(self, request, channels):
        return await aauthorize(request, channels)


# Open database connections, by the number that were opened and not closed again.
opened = 0


def _count(close):
    def counted(self):
        global opened
        if self.connection is not None:
            opened -= 1
        close(self)

    return counted


def _opening(connect):
    def counted(self):
        global opened
        connect(self)
        opened += 1

    return counted


_wrapper = type(connections["default"])
_wrapper.connect = _opening(_wrapper.connect)
_wrapper._close = _count(_wrapper._close)
