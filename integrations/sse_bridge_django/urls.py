"""A mounted route on which the client names its channels: ``/events/?channel=orders:42&channel=news``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path

from .views import EventStreamView


def event_stream_path(
    route: str = "events/", *, authorize: Callable[..., Any], name: str | None = "events", **options: Any
) -> URLPattern:
    """An entry for ``urlpatterns``.

        urlpatterns = [event_stream_path("events/", authorize=may_follow)]

    Args:
        route: as for `django.urls.path`.
        authorize: ``authorize(request, channels)``, sync or async, returns False, True or a `Grant`.
        name: for ``reverse``.
        options: attributes of `EventStreamView`, such as ``filter``.

    Raises:
        ConfigurationError: `authorize` is None.
    """
    return path(route, EventStreamView.as_view(channels_from_query=True, authorize=authorize, **options), name=name)
