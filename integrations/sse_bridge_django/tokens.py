"""Signed stream tokens as an authorize hook: ``event_stream(request, channels, authorize=by_token())``."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest

from sse_bridge import Bridge, get_bridge
from sse_bridge.streams import Grant
from sse_bridge.tokens import token_grant


def by_token(bridge: Bridge | None = None) -> Callable[[HttpRequest, tuple[str, ...]], Grant]:
    """A hook that admits clients with a token of `Bridge.token` for these channels.

    Args:
        bridge: the issuer of the tokens; None: the default bridge, looked up at each request.
    """

    def authorize(request: HttpRequest, channels: tuple[str, ...]) -> Grant:
        pairs = [(name, value) for name, values in request.GET.lists() for value in values]
        return token_grant(bridge or get_bridge(), request.headers, pairs, channels)

    return authorize
