"""Routes where the client chooses the channels, with an authorize hook: ``GET /events?channel=a&channel=b``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flask import Blueprint, Response, current_app, request
from typing_extensions import Unpack

from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import check_format

from .responses import Authorize, StreamOptions, event_stream, preflight_response, stream_request

# Flask's automatic answer to OPTIONS lacks the headers of CORS.
ROUTE: Final[dict[str, Any]] = {"methods": ["GET", "OPTIONS"], "provide_automatic_options": False}


def event_blueprint(
    *,
    authorize: Authorize | None = None,
    path: str = "/events",
    name: str = "sse_bridge",
    **options: Unpack[StreamOptions],
) -> Blueprint:
    """A blueprint with one route, at `path`.

    Args:
        authorize: called with the request and the channels that the client named; returns False (403), True, or a `Grant`
            with a user, an expiry and a filter; sync or async. It may raise `NotAuthenticated` (401).
        path: below the ``url_prefix`` of ``app.register_blueprint``.
        name: the blueprint's name; the endpoint is ``<name>.events``.
        options: as for `event_stream`.

    Raises:
        ConfigurationError: no authorize hook, or an unknown format.
    """
    blueprint = Blueprint(name, __name__)
    blueprint.add_url_rule(path, "events", stream_view(authorize, **options), **ROUTE)
    return blueprint


def stream_view(authorize: Authorize | None, **options: Unpack[StreamOptions]) -> Callable[[], Response]:
    """The view of a route where the client chooses the channels."""
    if not callable(authorize):
        raise ConfigurationError(
            "a route where the client chooses the channels needs authorize=, a function of (request, channels), got "
            f"{authorize!r:.100}; to let everyone see everything say authorize=lambda request, channels: True"
        )
    check_format(options.get("format"), options.get("type_in_data", False))
    hook = authorize

    def events() -> Response:
        if request.method == "OPTIONS":
            return preflight_response(options) or current_app.make_default_options_response()
        return event_stream(stream_request(options.get("cors_origins")).channels, authorize=hook, **options)

    return events
