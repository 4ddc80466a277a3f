"""The site's views; every stream exists as a sync view and as an async one."""

import json
import threading
import time

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.db import connection, connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines

from sse_bridge import ByVisibility, get_bridge
from sse_bridge.errors import NotAuthenticated
from sse_bridge.streams import Grant
from sse_bridge_django import EventStreamView, apublish, event_stream, publish, publish_on_commit
from tests.django_app.project.visitor import seen


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


def _strict(request: HttpRequest, channel: str):
    grant = Grant(expires_at=time.time() + float(request.GET["early"])) if "early" in request.GET else None
    what = channel if "source" not in request.GET else numbers(10**9 if "early" in request.GET else 2)
    options = {} if "source" in request.GET else {"start": "earliest"}
    return event_stream(request, what, format="sse-data", type_in_data=True, grant=grant, **options)


def strict(request: HttpRequest, channel: str):
    return _strict(request, channel)


async def async_strict(request: HttpRequest, channel: str):
    return _strict(request, channel)


class Strict(EventStreamView):
    format = "sse-data"
    type_in_data = True

    def get_channels(self):
        return self.kwargs["channel"]


def page(request: HttpRequest, channel: str):
    template = '{% load sse_bridge %}{% sse_position channel others as position %}<body data-after="{{ position }}">'
    page = engines["django"].from_string(template)
    return HttpResponse(page.render({"channel": channel, "others": [f"{channel}-other"]}))


async def async_page(request: HttpRequest, channel: str):
    position = await get_bridge().aposition([channel, f"{channel}-other"])
    return HttpResponse(
        engines["django"].from_string('<body data-after="{{ position }}">').render({"position": position})
    )


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


def visited():
    yield {"event": "seen", "data": seen()}


async def avisited():
    yield {"event": "seen", "data": [*seen(), await sync_to_async(seen)()]}


class Held:
    """A source that holds something until it is closed."""

    open = 0

    def __init__(self) -> None:
        self._items = iter(["an item"])
        Held.open += 1

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._items)

    def close(self) -> None:
        Held.open -= 1


SOURCES = {
    "list": lambda: [{"event": "count", "data": 0}, {"event": "count", "data": 1}],
    "generator": lambda: numbers(2),
    "asyncgenerator": lambda: anumbers(2),
    "function": lambda: lambda: numbers(2),
    "endless": lambda: numbers(10**9),
    "failing": failing,
    "mistake": lambda: 42,
    "visited": visited,
    "avisited": avisited,
    "held": Held,
}


def source(request: HttpRequest, name: str):
    return event_stream(request, SOURCES[name]())


async def async_source(request: HttpRequest, name: str):
    return event_stream(request, SOURCES[name]())


def two(request: HttpRequest, channel: str):
    """Makes a stream that is for everybody and one that is not, and returns what ?which= names, or an error page."""
    public = event_stream(request, channel, start="earliest")
    private = event_stream(request, f"{channel}:private", start="earliest")
    left = event_stream(request, Held(), format="sse")
    if request.GET["which"] == "error":
        raise PermissionDenied
    return {"public": public, "private": private, "page": HttpResponse("a page"), "source": left}[request.GET["which"]]


async def atwo(request: HttpRequest, channel: str):
    return two(request, channel)


def replaced(request: HttpRequest, channel: str):
    """An answer whose body somebody replaced, and whose headers stayed."""
    response = event_stream(request, channel)
    return HttpResponse("for maintenance", headers=dict(response.headers))


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
            "pushed": sum(len(hub.shared_readers.members()) for hub in hubs),
            "feeds": sum(len(hub.state.feeds) for hub in hubs),
            "threads": threading.active_count(),
            "opened": opened,
            "sources": Held.open,
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
