"""`send_source`: a WebSocket connection that streams the items of an iterable, from the handshake to its end."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any

from sse_bridge import Bridge, Filter, get_bridge
from sse_bridge.streams import Grant, serve_source

from .types import Receive, Scope, Send


async def send_source(
    scope: Scope,
    receive: Receive,
    send: Send,
    source: Iterable[Any] | AsyncIterable[Any] | Callable[[], Any],
    *,
    bridge: Bridge | None = None,
    filter: Filter | None = None,
    grant: Grant | None = None,
    restart: bool = True,
    origins: str | Iterable[str] = (),
) -> None:
    """Answers a scope of type ``websocket``; returns when the connection is over. Safe to cancel: the source is closed.

        async def app(scope, receive, send):
            await send_source(scope, receive, send, answer(scope["path"]))

    Args:
        source: a sync or async iterable, or a callable without arguments that makes one, as for
            `sse_bridge_starlette.EventSourceResponse` and ``event_stream``.
        bridge: gives the settings; None: the default bridge.
        filter: the items that the client gets.
        grant: the stream's user, for limits and revocation, and its expiry. Decide before the call.
        restart: False: do not run the source again for a client that was cut off (``?after=stream.open``).
        origins: further origins whose pages may connect, such as ``https://app.example.com``; ``"*"`` is every one.

    Raises:
        InvalidInput: `source` is not iterable.
    """
    await serve_source(
        bridge or get_bridge(), source, scope, receive, send, origins=origins, filter=filter, grant=grant, restart=restart,
    )  # fmt: skip
