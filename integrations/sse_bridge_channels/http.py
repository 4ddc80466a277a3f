"""Server-sent events as a Channels consumer.

Channels' `AsyncHttpConsumer` reads no message while its ``handle()`` runs, so it cannot notice a disconnect.
`EventStreamConsumer` is an ASGI application of its own with the same interface (`as_asgi`, hooks, one instance per
request) that receives while it streams.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sse_bridge import SSEBridgeError
from sse_bridge.streams import (
    Cors,
    Refusal,
    StreamRequest,
    StreamResponse,
    check_format,
    lower_headers,
    method_not_allowed,
    refusal,
    send_stream,
    stream_channels,
)

from .access import BridgeConsumer, Receive, Scope, Send, _ask


class EventStreamConsumer(BridgeConsumer):
    """Streams channels to an EventSource, as NDJSON or as text; resumes by Last-Event-ID or ``?after=``.

        path("orders/<int:number>/events/", OrderEvents.as_asgi())

        class OrderEvents(EventStreamConsumer):
            def get_channels(self, scope):
                return [f"orders:{scope['url_route']['kwargs']['number']}"]

            async def authorize(self, scope, channels):
                return scope["user"].is_authenticated

    Without a `get_channels` the client chooses (``?channel=a&channel=b``), and `authorize` must be there.

    Attributes:
        format: ``sse``, ``sse-data``, ``ndjson`` or ``text``, whatever the client asks for; None: negotiated.
        type_in_data: in the format sse-data, an event's type stands inside of its data.
        cors_origins: other origins whose pages may read the stream, with cookies; the bridge's setting if None.
    """

    format: str | None = None
    type_in_data: bool = False
    cors_origins: str | Iterable[str] | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        check_format(self.format, self.type_in_data)
        self._cors = None if self.cors_origins is None else Cors.listed(self.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; returns when the stream is over or the client is gone."""
        self._check_type(scope, "http")
        # in one expression, since an idle connection would keep every local variable alive
        await send_stream(await self._answer(scope), receive, send, head_only=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope) -> StreamResponse | Refusal:
        bridge = self._bridge()
        cors = Cors.of(bridge.settings) if self._cors is None else self._cors
        headers = lower_headers(scope["headers"])
        try:
            if scope["method"] in ("GET", "HEAD"):
                request = StreamRequest.from_http(headers, scope["query_string"].decode("latin-1"))
                wanted = request.subscribe(
                    bridge, await _ask(self.get_channels, scope) if self._chooses else request.channels,
                    filter=self.filter, policy=self.policy, queue_size=self.queue_size, start=self.start, last=self.last,
                )  # fmt: skip
                grant = await self._grant(scope, wanted.channels)
                return stream_channels(
                    bridge, wanted, request, grant=grant, format=self.format, type_in_data=self.type_in_data,
                    cors_origins=cors.origins,
                )  # fmt: skip
            refused = method_not_allowed(scope["method"])
        except SSEBridgeError as error:
            refused = refusal(error, debug=bridge.settings.debug)
        return cors.preflight(scope["method"], headers) or cors.apply(refused, headers.get("origin"))
