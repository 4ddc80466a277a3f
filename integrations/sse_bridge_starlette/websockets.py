"""`send_source`: an iterable's items over a WebSocket endpoint of Starlette or FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any

from starlette.websockets import WebSocket, WebSocketState

from sse_bridge import Bridge, Filter, get_bridge
from sse_bridge.streams import Grant, serve_source


async def send_source(
    websocket: WebSocket,
    source: Iterable[Any] | AsyncIterable[Any] | Callable[[], Any],
    *,
    bridge: Bridge | None = None,
    filter: Filter | None = None,
    grant: Grant | None = None,
    restart: bool = True,
    origins: str | Iterable[str] = (),
) -> None:
    """Streams a source to the client and closes the connection; returns when it is over. Safe to cancel.

        @app.websocket("/ask")
        async def ask(websocket: WebSocket, question: str):
            await send_source(websocket, answer(question))

    Args:
        websocket: the endpoint's; accepted here, refusing pages of other origins, unless the endpoint has accepted it.
        source, bridge, filter, grant, restart: as for `EventSourceResponse`.
        origins: further origins whose pages may connect; ``"*"`` is every one.

    Raises:
        InvalidInput: `source` is not iterable.
    """
    await serve_source(
        bridge or get_bridge(), source, websocket.scope, websocket.receive, websocket.send,
        origins=origins, filter=filter, grant=grant, restart=restart,
        accepted=websocket.application_state != WebSocketState.CONNECTING,
    )  # fmt: skip
