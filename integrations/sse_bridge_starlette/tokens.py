"""Signed stream tokens as an authorize hook: ``EventStream(channels, authorize=by_token(bridge))``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import HTTPConnection

from sse_bridge import Bridge, get_bridge
from sse_bridge.streams import Grant, lower_headers
from sse_bridge.tokens import token_grant


def by_token(bridge: Bridge | None = None) -> Callable[[HTTPConnection, tuple[str, ...]], Awaitable[Grant]]:
    """A hook that admits clients with a token of `Bridge.token` for these channels.

    Args:
        bridge: the issuer of the tokens; None: the default bridge, looked up at each request.
    """

    async def authorize(request: HTTPConnection, channels: tuple[str, ...]) -> Grant:
        query = request.scope["query_string"].decode("latin-1")
        return token_grant(bridge or get_bridge(), lower_headers(request.scope["headers"]), query, channels)

    return authorize
