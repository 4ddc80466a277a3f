"""An iterable over WebSocket, as a Channels consumer; `event_stream` is its twin over HTTP."""

from __future__ import annotations

from typing import Any

from sse_bridge import SSEBridgeError
from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import lower_headers, refusal, refuse_websocket, serve_source

from .access import Receive, Scope, Send, _ask, _overridden, _WebSocketConsumer
from .origins import check_allowed_origin


class SourceWebSocketConsumer(_WebSocketConsumer):
    """Streams the iterable of `get_source`, sends its end or failure, and closes.

        path("ws/ask/", Answers.as_asgi())

        class Answers(SourceWebSocketConsumer):
            def get_source(self, scope):
                return answer(scope["user"], parse_qs(scope["query_string"]))   # a sync or async generator

            async def authorize(self, scope, channels):
                return Grant(user=str(scope["user"].pk)) if scope["user"].is_authenticated else False

    `authorize` is called before `get_source`, without channels; without that hook every page of an allowed origin may connect.
    The messages are those of a source everywhere (`sse_bridge.streams.asgi.websocket_source`).

    Attributes:
        origins: as for `EventWebSocketConsumer`.
        restart: False: do not run the source again for a client that was cut off.
    """

    restart: bool = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not _overridden(self.get_source, SourceWebSocketConsumer.get_source):
            raise ConfigurationError(f"{type(self).__name__} has no source: define get_source(scope)")

    def get_channels(self, scope: Scope) -> Any:
        """No channels."""
        return ()

    def get_source(self, scope: Scope) -> Any:
        """A sync or async iterable, or a callable that makes one; override it, sync or async.

        Args:
            scope: Channels' own: ``scope["user"]`` inside AuthMiddlewareStack, ``scope["url_route"]["kwargs"]``.
        """
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection; returns at its end."""
        if not await self._connects(scope, receive):
            return
        bridge = self._bridge()
        try:
            check_allowed_origin(lower_headers(scope["headers"]).get("origin"), self.origins)
            grant = await self._grant(scope, ())
            source = await _ask(self.get_source, scope)
        except SSEBridgeError as error:
            await refuse_websocket(refusal(error, debug=bridge.settings.debug), scope, send)
            return
        # `check_allowed_origin` has checked the origin before the source was made
        await serve_source(
            bridge, source, scope, receive, send, origins="*", filter=self.filter, grant=grant, restart=self.restart,
            connected=True,
        )  # fmt: skip
