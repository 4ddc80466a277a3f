"""A synchronous Django view, under ASGI behind the middleware that takes its stream over."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path

from sse_bridge_asgi import SSEBridgeMiddleware
from sse_bridge_django import event_stream

settings.configure(
    SECRET_KEY="for benchmarks",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["sse_bridge_django"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()


def events(request: HttpRequest) -> HttpResponseBase:
    return event_stream(request, request.GET.getlist("channel"))


urlpatterns = [path("", events)]
app = SSEBridgeMiddleware(get_asgi_application(), path=None)
