"""The class-based view."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import classonlymethod
from django.views import View

from sse_bridge import Filter, SSEBridgeError, get_bridge
from sse_bridge.config import Policy
from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import Cors, call_sync, check_format

from .responses import error_response, event_stream, preflight_response, stream_request


class EventStreamView(View):
    """Streams the channels of `get_channels` to the clients that `authorize` allows.

        class OrderEvents(LoginRequiredMixin, EventStreamView):
            def get_channels(self):
                return [f"orders:{self.kwargs['number']}"]

            async def authorize(self, request, channels):           # or ``def``
                return await request.user.orders.filter(number=self.kwargs["number"]).aexists()

    The view is sync, which costs nothing under WSGI, and under ASGI the thread that each of Django's requests has anyway.
    Behind ``SSEBridgeMiddleware`` that thread is free as soon as the view has decided.

    Attributes:
        channels: the result of the default `get_channels`.
        channels_from_query: True: the client names them (``?channel=a&channel=b``); then `authorize` is required.
        filter: the events that the client gets; a grant's own filter wins.
        policy: the slow-reader policy; the setting if None.
        format: ``sse``, ``sse-data``, ``ndjson`` or ``text``, whatever the client asks for; None: negotiated.
        type_in_data: in the format sse-data, an event's type stands inside of its data.
        cors_origins: other origins whose pages may read it, with cookies; the setting ``cors_origins`` if None.

    Raises:
        ConfigurationError: from ``as_view()``: no channels, channels from the query without `authorize`, or an unknown
            format.
    """

    http_method_names = ["get", "head", "options"]  # noqa: RUF012  # Django's own attribute

    channels: Iterable[str] | str | None = None
    channels_from_query: bool = False
    filter: Filter | None = None
    policy: Policy | None = None
    format: str | None = None
    type_in_data: bool = False
    cors_origins: Iterable[str] | str | None = None

    def get_channels(self) -> Any:
        """One channel or several; may be ``async def``. ``self.request``, ``self.args`` and ``self.kwargs`` are set."""
        if self.channels_from_query:
            return stream_request(self.request).channels
        return self.channels

    def authorize(self, request: HttpRequest, channels: tuple[str, ...]) -> Any:
        """False (403), True, or a `Grant`; may be ``async def``, and may raise `NotAuthenticated` (401) or
        ``PermissionDenied``. Called before anything is read from the log."""
        return True

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            channels = call_sync(self.get_channels)
        except SSEBridgeError as error:
            return error_response(error, request, Cors.of(get_bridge().settings, self.cors_origins))
        return event_stream(
            request, channels, filter=self.filter, policy=self.policy, authorize=self.authorize,
            format=self.format, type_in_data=self.type_in_data, cors_origins=self.cors_origins,
        )  # fmt: skip

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        answer = preflight_response(request, Cors.of(get_bridge().settings, self.cors_origins))
        return super().options(request, *args, **kwargs) if answer is None else answer

    @classonlymethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., Any]:  # noqa: N805  # a classmethod, by another name
        hook = initkwargs.get("authorize", cls.authorize)
        if initkwargs.get("channels_from_query", cls.channels_from_query):
            if hook is None or hook is EventStreamView.authorize:
                raise ConfigurationError(
                    f"{cls.__name__} lets the client choose its channels, so it needs authorize=, a function of the "
                    "request and the channels that returns False, True or a Grant; to let everybody read everything "
                    "say authorize=lambda request, channels: True"
                )
        elif cls.get_channels is EventStreamView.get_channels and not initkwargs.get("channels", cls.channels):
            raise ConfigurationError(
                f"{cls.__name__} has no channels: set channels=[…], define get_channels(), "
                "or set channels_from_query=True and authorize="
            )
        check_format(initkwargs.get("format", cls.format), initkwargs.get("type_in_data", cls.type_in_data))
        if hook is None:
            del initkwargs["authorize"]
        return super().as_view(**initkwargs)
