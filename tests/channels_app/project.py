"""A Django project with Channels, served by daphne and uvicorn in the tests; no channel layer.

Run as a program it makes the database: ``python -m tests.channels_app.project``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import django
from django.conf import settings

settings.configure(
    DEBUG=False,
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["127.0.0.1", ".example.com"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("CHANNELS_APP_DB", ":memory:")}
    },
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.contrib.auth import get_user_model, login  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from sse_bridge import Bridge, Event, configure  # noqa: E402
from sse_bridge_channels import (  # noqa: E402
    ChannelFollowerMixin,
    EventStreamConsumer,
    EventWebSocketConsumer,
    SourceWebSocketConsumer,
    SyncChannelFollowerMixin,
)

bridge = Bridge(drain_seconds=0)  # SSE_BRIDGE_URL says where
configure(bridge)
gate = asyncio.Event()  # slow:* channels wait for it
hooks_may_end = asyncio.Event()


async def allowed(scope: Any, channels: tuple[str, ...]) -> bool:
    if any([name.startswith("slow:") for name in channels]):
        await gate.wait()
    return not any([name.startswith("secret") for name in channels])


class OrderEvents(EventStreamConsumer):
    """The server chooses by the address; a sync hook looks at Django's user."""

    def get_channels(self, scope: Any) -> list[str]:
        return [f"orders:{scope['url_route']['kwargs']['number']}"]

    def authorize(self, scope: Any, channels: tuple[str, ...]) -> bool:
        return bool(get_user_model().objects.filter(pk=scope["user"].pk).exists())


class Socket(EventWebSocketConsumer):
    authorize = staticmethod(allowed)

    async def on_cancel(self, scope: Any, message: Any) -> str:
        await bridge.apublish(message["run"], {"by": scope["user"].get_username()}, type="run.cancelled")
        return message["run"]


class SlowSocket(EventWebSocketConsumer):
    """Its hook returns when its client has been ended, or a minute later."""

    authorize = staticmethod(allowed)

    async def on_message(self, scope: Any, message: Any) -> None:
        hooks_may_end.clear()  # of an earlier test
        try:
            await asyncio.wait_for(hooks_may_end.wait(), 60)
        except TimeoutError:
            return


class Follower(ChannelFollowerMixin, AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **_: Any) -> None:
        if content["do"] == "follow":
            await self.follow(*content["channels"], after=content.get("after"))
        elif content["do"] == "unfollow":
            await self.unfollow(*content["channels"])
        elif content["do"] == "publish":
            await bridge.apublish(content["channel"], content["data"])
        await self.send_json({"did": content["do"], "followed": self.followed})

    async def on_event(self, event: Event) -> None:
        await self.send_json({"type": event.type, "data": event.data, "id": event.id})


class SyncFollower(SyncChannelFollowerMixin, JsonWebsocketConsumer):
    def receive_json(self, content: Any, **_: Any) -> None:
        if content["do"] == "follow":
            self.follow(*content["channels"], after=content.get("after"))
        elif content["do"] == "unfollow":
            self.unfollow(*content["channels"])
        elif content["do"] == "publish":
            bridge.publish(content["channel"], content["data"])
        self.send_json({"did": content["do"], "followed": self.followed})

    def on_event(self, event: Event) -> None:
        self.send_json({"type": event.type, "data": event.data, "id": event.id})


class Numbers(SourceWebSocketConsumer):
    """A source that asks the database, in a sync generator."""

    def get_source(self, scope: Any) -> Any:
        yield {"event": "users", "data": get_user_model().objects.count()}
        for number in range(3):
            yield {"event": "number", "data": number}


def publish(request: HttpRequest) -> HttpResponse:
    """A sync view."""
    for number in json.loads(request.body):
        bridge.publish(request.GET["channel"], {"n": number})
    return HttpResponse(status=204)


def sign_in(request: HttpRequest) -> HttpResponse:
    user, _ = get_user_model().objects.get_or_create(username="ada")
    login(request, user)
    return HttpResponse(status=204)


async def state(request: HttpRequest) -> HttpResponse:
    """What is held on this loop; all of it is given back when the last client has left."""
    return JsonResponse({"streams": len(bridge.streams), "readers": bridge.loop_hub().readers()})


async def open_gate(request: HttpRequest) -> HttpResponse:
    gate.set()
    return HttpResponse(status=204)


async def end_hooks(request: HttpRequest) -> HttpResponse:
    hooks_may_end.set()
    return HttpResponse(status=204)


urlpatterns = [
    path("publish/", publish),
    path("login/", sign_in),
    path("state/", state),
    path("open-gate/", open_gate),
    path("end-hooks/", end_hooks),
]

application = ProtocolTypeRouter(
    {
        "http": URLRouter(
            [
                path("events/", EventStreamConsumer.as_asgi(authorize=allowed)),
                path("orders/<int:number>/events/", AuthMiddlewareStack(OrderEvents.as_asgi())),
                re_path("", get_asgi_application()),
            ]
        ),
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [
                    path("ws/", Socket.as_asgi()),
                    path("ws/slow/", SlowSocket.as_asgi()),
                    path("ws/numbers/", Numbers.as_asgi()),
                    path("ws/follow/", Follower.as_asgi()),
                    path("ws/sync/", SyncFollower.as_asgi()),
                ]
            )
        ),
    }
)

if __name__ == "__main__":
    from django.core.management import call_command

    sys.exit(call_command("migrate", verbosity=0))
