"""Signed stream tokens as an authorize hook of ASGI: ``EventStreamApp(authorize=by_token())``, and likewise elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .bridge import Bridge
from .default import get_bridge
from .streams import Grant, lower_headers
from .tokens import token_grant

__all__ = ["by_token"]


def by_token(bridge: Bridge | None = None) -> Callable[[Mapping[str, Any], tuple[str, ...]], Awaitable[Grant]]:
    """A hook that admits clients with a token of `Bridge.token` for these channels; over WebSocket too.

    The hook gets a scope, or Starlette's request, which is a mapping of it.

    Args:
        bridge: the issuer of the tokens; None: the default bridge, looked up at each request.
    """

    async def authorize(scope: Mapping[str, Any], channels: tuple[str, ...]) -> Grant:
        query = scope["query_string"].decode("latin-1")
        return token_grant(bridge or get_bridge(), lower_headers(scope["headers"]), query, channels)

    return authorize
