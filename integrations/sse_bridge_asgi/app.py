"""`EventStreamApp`: channels as an ASGI app, over SSE (NDJSON, text) and WebSocket.

It looks at the method, the headers and the query, never at the path, so it can be mounted anywhere. As the root app it
answers lifespan events too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sse_bridge import Bridge, Filter, SSEBridgeError, get_bridge
from sse_bridge.config import Policy
from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import (
    Cors,
    Refusal,
    StreamResponse,
    ensure_drain_handler,
    lower_headers,
    method_not_allowed,
    refusal,
    scope_request,
    send_stream,
    stream_channels,
)

from .access import Access
from .lifespan import serve_lifespan
from .types import Authorize, Channels, MessageHook, Receive, Scope, Send
from .websocket import WebSocketEndpoint


class EventStreamApp:
    """See the module.

    Args:
        bridge: whose channels; None: the default bridge, looked up at the first request.
        channels: names, or a hook that gets the scope and returns names. Omitted: the client names them by
            ``?channel=a&channel=b`` or, over WebSocket, in its subscribe messages.
        authorize: a hook that gets the scope and the channels and returns False, True or a `Grant`; required where
            the client names the channels. Over WebSocket it is asked again, with all channels, at each subscribe.
        filter: which events clients get; events that are not for browsers are hidden unless it names visibilities.
        policy: what happens when a client is slow; the setting if omitted.
        queue_size: likewise.
        start: ``"earliest"`` or ``"now"``: where a client without an id begins.
        last: likewise: with the last so many entries.
        websocket: False refuses WebSockets.
        origins: origins besides the own one whose pages may open a WebSocket, such as ``https://app.example.com``;
            ``"*"`` is every one.
        cors_origins: other origins whose pages may read streams over HTTP, with cookies; the setting if omitted.
        on_cancel: a hook for a WebSocket client's ``cancel`` message; it gets the scope and the message.
        on_message: likewise for messages of the application's own.

    Raises:
        ConfigurationError: neither `channels` nor `authorize`.
    """

    def __init__(
        self,
        bridge: Bridge | None = None,
        *,
        channels: Channels | None = None,
        authorize: Authorize | None = None,
        filter: Filter | None = None,
        policy: Policy | None = None,
        queue_size: int | None = None,
        start: str | None = None,
        last: int | None = None,
        websocket: bool = True,
        origins: str | Iterable[str] = (),
        cors_origins: str | Iterable[str] | None = None,
        on_cancel: MessageHook | None = None,
        on_message: MessageHook | None = None,
    ) -> None:
        if bridge is not None and not isinstance(bridge, Bridge):
            raise ConfigurationError(f"bridge must be a Bridge or None, got {bridge!r:.100}")
        self._bridge = bridge
        self._access = Access(channels, authorize)
        self._start = {"start": start, "last": last}
        self._cors = None if cors_origins is None else Cors.listed(cors_origins)
        self._options: dict[str, Any] = {"filter": filter, "policy": policy, "queue_size": queue_size}
        self._websocket = None
        if websocket:
            own = (origins,) if isinstance(origins, str) else tuple(origins)
            self._websocket = WebSocketEndpoint(self._access, own, self._start, self._options, on_cancel, on_message)
        ensure_drain_handler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # in one expression: an idle connection would hold every name
            await send_stream(await self._answer(scope), receive, send, head_only=scope["method"] == "HEAD")
        elif scope["type"] == "websocket" and self._websocket is not None:
            await self._websocket.serve(self._bridge or get_bridge(), scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()  # websocket.connect
            await send({"type": "websocket.close", "code": 4403})
        elif scope["type"] == "lifespan":
            await serve_lifespan(receive, send)
        else:
            raise ValueError(f"expected a scope of type http, websocket or lifespan, got {scope['type']!r}")

    async def _answer(self, scope: Scope) -> StreamResponse | Refusal:
        bridge = self._bridge or get_bridge()
        cors = Cors.of(bridge.settings) if self._cors is None else self._cors
        headers = lower_headers(scope["headers"])
        origin = headers.get("origin")
        if (answer := cors.preflight(scope["method"], headers)) is not None:
            return answer
        if scope["method"] not in ("GET", "HEAD"):
            return cors.apply(method_not_allowed(scope["method"]), origin)
        try:
            return await self._response(bridge, scope, cors)
        except SSEBridgeError as error:
            return cors.apply(refusal(error, debug=bridge.settings.debug), origin)

    async def _response(self, bridge: Bridge, scope: Scope, cors: Cors) -> StreamResponse:
        request = scope_request(scope)
        channels = await self._access.channels(scope, request.channels)
        bridge.wish(channels)  # no hook sees a name that breaks the rule
        grant = await self._access.grant(scope, channels)
        options: dict[str, Any] = {**self._start, **self._options}
        return stream_channels(bridge, channels, request, grant=grant, cors_origins=cors.origins, **options)
