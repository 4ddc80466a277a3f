"""Signed stream tokens as an authorize hook: ``event_stream(channels, authorize=by_token())``."""

from __future__ import annotations

from collections.abc import Callable

from flask import Request

from sse_bridge import Bridge
from sse_bridge.streams import Grant
from sse_bridge.tokens import token_grant

from .current import get_bridge


def by_token(bridge: Bridge | None = None) -> Callable[[Request, tuple[str, ...]], Grant]:
    """A hook that admits clients with a token of `Bridge.token` for these channels.

    Args:
        bridge: the issuer of the tokens; None: the bridge of the current app.
    """

    def authorize(request: Request, channels: tuple[str, ...]) -> Grant:
        headers = {name.lower(): value for name, value in request.headers.items()}
        return token_grant(bridge or get_bridge(), headers, request.query_string.decode("latin-1"), channels)

    return authorize
