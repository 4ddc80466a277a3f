"""`EventStreamApp`: channels as an ASGI app, over SSE (NDJSON, text) and WebSocket.

The app reads the method, the headers and the query, never the path, so it can be mounted anywhere. As the root app it
answers lifespan events, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sse_bridge import Bridge, Filter, SSEBridgeError, get_bridge
from sse_bridge.config import Policy
from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import (
    Cors,
    Grant,
    Refusal,
    StreamRequest,
    StreamResponse,
    check_format,
    ensure_drain_handler,
    failure_in_task,
    grant_of,
    is_async,
    lower_headers,
    method_not_allowed,
    refusal,
    send_stream,
    stream_channels,
)

from .lifespan import serve_lifespan
from .threads import call_hook
from .types import Authorize, Channels, MessageHook, Receive, Scope, Send
from .websocket import WebSocketEndpoint


class EventStreamApp:
    """Serves channels on one route.

    Args:
        bridge: the channels' bridge; None: the default one, looked up at the first request.
        channels: names, or a hook that gets the scope and returns names. Omitted: the client names them by
            ``?channel=a&channel=b`` or, over WebSocket, in its subscribe messages.
        authorize: a hook that gets the scope and the channels and returns False, True or a `Grant`; required where
            the client names the channels. Over WebSocket it is called again, with all channels, at each subscribe.
        filter: the events that clients get; events not for browsers are hidden unless it names visibilities.
        policy: the slow-reader policy; the setting if omitted.
        queue_size: likewise.
        start: ``"earliest"`` or ``"now"``: where a client without an id begins.
        last: likewise: with the last so many entries.
        format: over HTTP, ``sse``, ``sse-data``, ``ndjson`` or ``text``, whatever the client asks for; None: negotiated.
        type_in_data: in the format sse-data, an event's type stands inside of its data.
        websocket: False refuses WebSockets.
        origins: further origins whose pages may open a WebSocket, such as ``https://app.example.com``; ``"*"`` is
            every one.
        cors_origins: other origins whose pages may read streams over HTTP, with cookies; the setting if omitted.
        on_cancel: a hook for a WebSocket client's ``cancel`` message; it gets the scope and the message.
        on_message: likewise for messages of the application's own.

    Raises:
        ConfigurationError: neither `channels` nor `authorize`, or an unknown format.
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
        format: str | None = None,
        type_in_data: bool = False,
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
        first = {"start": start, "last": last}
        wanted = {"filter": filter, "policy": policy, "queue_size": queue_size}
        check_format(format, type_in_data)
        self._cors_origins = None if cors_origins is None else Cors.listed(cors_origins).origins
        self._wanted: dict[str, Any] = {**first, **wanted}
        self._options: dict[str, Any] = {
            "format": format, "type_in_data": type_in_data, "cors_origins": self._cors_origins,
        }  # fmt: skip
        self._websocket = None
        if websocket:
            own = (origins,) if isinstance(origins, str) else tuple(origins)
            self._websocket = WebSocketEndpoint(
                self._access.channels if self._access.fixed else None, self._access.grant, own, first, wanted,
                on_cancel, on_message,
            )  # fmt: skip
        ensure_drain_handler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # in one expression, since an idle connection would keep every local variable alive
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
        headers = lower_headers(scope["headers"])
        try:
            if scope["method"] in ("GET", "HEAD"):
                request = StreamRequest.from_http(headers, scope["query_string"].decode("latin-1"))
                access = self._access
                channels = await access.channels(scope) if access.fixed else request.channels
                wanted = request.subscribe(bridge, channels, **self._wanted)
                grant = await access.grant(scope, wanted.channels)
                return stream_channels(bridge, wanted, request, grant=grant, **self._options)
            refused = method_not_allowed(scope["method"])
        except SSEBridgeError as error:
            refused = refusal(error, debug=bridge.settings.debug)
        cors = Cors.of(bridge.settings, self._cors_origins)
        return cors.preflight(scope["method"], headers) or cors.apply(refused, headers.get("origin"))


class Access:
    """The hooks of a route.

    Args:
        channels: chosen by the server; None: the client chooses, by ``?channel=`` or its subscribe messages.
        authorize: decides in both cases; required where the client chooses.

    Attributes:
        fixed: the server chooses.

    Raises:
        ConfigurationError: the client chooses and there is no hook, or a hook is not callable.
    """

    def __init__(self, channels: Channels | None, authorize: Authorize | None) -> None:
        if channels is None and authorize is None:
            raise ConfigurationError(
                "clients choose the channels of this route, so it needs authorize=, a function (sync or async) of the "
                "scope and the channels that returns False, True or a Grant; to let everybody read everything, say "
                "authorize=lambda scope, channels: True; or choose the channels yourself with channels="
            )
        names = channels is None or isinstance(channels, str) or hasattr(channels, "__iter__")
        for name, hook in (("authorize", authorize), ("channels", None if names else channels)):
            if hook is not None and not callable(hook):
                raise ConfigurationError(f"{name}= must be callable, got {hook!r:.100}")
        self.fixed = channels is not None
        self._channels = channels if callable(channels) or channels is None else _names(channels)
        self._authorize = authorize
        self._waits = authorize is not None and is_async(authorize)  # asgiref looks longer than most hooks run

    async def channels(self, scope: Scope) -> tuple[str, ...]:
        """The channels that the server chooses for this connection."""
        return _names(await call_hook(self._channels, scope) if callable(self._channels) else self._channels)

    async def grant(self, scope: Scope, channels: tuple[str, ...]) -> Grant:
        """The hook's decision; raises `NotAuthorized`, `NotAuthenticated`, or any exception of the hook."""
        hook = self._authorize
        if hook is None:
            return grant_of(True)
        if not self._waits:
            return grant_of(await call_hook(hook, scope, channels))
        try:
            return grant_of(await hook(scope, channels))
        except BaseException as error:  # as `awaited` does, without a coroutine more for each stream that opens
            if (failed := failure_in_task(hook, error)) is None:
                raise
            raise failed from error


def _names(channels: Any) -> tuple[str, ...]:
    return (channels,) if isinstance(channels, str) else tuple(channels)
