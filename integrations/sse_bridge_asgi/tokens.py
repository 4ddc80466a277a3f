"""Signed stream tokens as an authorize hook: ``EventStreamApp(bridge, authorize=by_token(bridge))``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sse_bridge import Bridge, get_bridge
from sse_bridge.streams import Grant, lower_headers
from sse_bridge.tokens import token_grant

from .types import Scope


def by_token(bridge: Bridge | None = None) -> Callable[[Scope, tuple[str, ...]], Awaitable[Grant]]:
    """A hook that admits clients with a token of `Bridge.token` for these channels; over WebSocket too.

    Args:
        bridge: the issuer of the tokens; None: the default bridge, looked up at each request.
    """

    async def authorize(scope: Scope, channels: tuple[str, ...]) -> Grant:
        query = scope["query_string"].decode("latin-1")
        return token_grant(bridge or get_bridge(), lower_headers(scope["headers"]), query, channels)

    return authorize
