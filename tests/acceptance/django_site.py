"""A Django project in one file, for WSGI: a view that streams, and one that publishes in its own thread."""

from __future__ import annotations

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path

from sse_bridge import Bridge
from sse_bridge_django import event_stream, publish
from tests.acceptance.publishers import work

# Like any project: the adapter is given its settings, which here come from the test.
settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["sse_bridge_django"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests",
    SSE_BRIDGE={"URL": os.environ.get("SSE_BRIDGE_URL", Bridge().settings.url)},
)


def events(request: HttpRequest) -> HttpResponseBase:
    return event_stream(request, request.GET.getlist("channel"))


def publishing(request: HttpRequest, name: str) -> HttpResponse:
    work(name, publish)
    return HttpResponse(status=204)


urlpatterns = [path("events", events), path("publish/<name>", publishing)]
app = get_wsgi_application()
