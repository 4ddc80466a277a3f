"""The same events over WebSocket; the protocol is described in `sse_bridge.streams.websocket`."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from sse_bridge import SSEBridgeError
from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import (
    SUBPROTOCOL,
    Subscribe,
    WebSocketScript,
    WebSocketSession,
    ensure_drain_handler,
    lower_headers,
    refusal,
    refuse_websocket,
    scope_request,
    serve_session,
)

from .access import BridgeConsumer, Receive, Scope, Send, _ask, _overridden
from .origins import check_allowed_origin

logger = logging.getLogger("sse_bridge.channels")

_hooks: Final[set[asyncio.Future[Any]]] = set()  # those that run; asyncio itself holds tasks weakly


class EventWebSocketConsumer(BridgeConsumer):
    """Subscribe, unsubscribe, resume by id, cancel; `authorize` is asked at each subscribe.

        path("ws/events/", OrderSocket.as_asgi())

        class OrderSocket(EventWebSocketConsumer):
            async def authorize(self, scope, channels):
                return all([name.startswith(f"user:{scope['user'].pk}:") for name in channels])

            async def on_cancel(self, scope, message):
                await stop_run(message["run"], by=scope["user"])

    With a `get_channels` the server chooses, and clients cannot subscribe to others. A connection that is not allowed is
    refused in the handshake: with the error's own status where the server can say it, else 403.

    Attributes:
        origins: pages of which origins may connect, in the words of Channels' OriginValidator
            (``"https://.example.com"``, ``"*"``); None: those of ``settings.ALLOWED_HOSTS``.
        start, last: for the channels of the address or of `get_channels`; a later subscribe says it itself.
    """

    origins: Sequence[str] | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if isinstance(self.origins, str):
            raise ConfigurationError(f"origins must be a list of origins, got {self.origins!r:.200}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection; returns when it is over."""
        if scope["type"] != "websocket":
            raise ValueError(
                f"EventWebSocketConsumer serves websocket, got a scope of type {scope['type']!r}; check the router"
            )
        if (await receive())["type"] != "websocket.connect":
            return
        bridge = self._bridge()
        script = WebSocketScript(
            bridge, time.monotonic(), filter=self.filter, policy=self.policy, queue_size=self.queue_size,
            fixed=self._chooses,
        )  # fmt: skip
        try:
            check_allowed_origin(lower_headers(scope["headers"]).get("origin"), self.origins)
            first = await self._first(scope, script)
            grant = None if first is None else await self._grant(scope, first.channels)
        except SSEBridgeError as error:
            await refuse_websocket(refusal(error, debug=bridge.settings.debug), scope, send)
            return
        session = WebSocketSession(
            bridge, script, lambda text: send({"type": "websocket.send", "text": text}),
            authorize=functools.partial(self._grant, scope),
            on_cancel=self._hook(scope, self.on_cancel, EventWebSocketConsumer.on_cancel),
            on_message=self._hook(scope, self.on_message, EventWebSocketConsumer.on_message),
        )  # fmt: skip
        offered = scope.get("subprotocols") or ()
        if await _accept(send, SUBPROTOCOL if SUBPROTOCOL in offered else None):
            ensure_drain_handler()
            await serve_session(session, first, grant, receive, send)

    def on_cancel(self, scope: Scope, message: Mapping[str, Any]) -> Any:
        """The client asks for the run behind its stream to be stopped; for you to override, sync or async.

        Args:
            scope: Channels' own; whether this user may stop that run is for you to decide (raise `NotAuthorized`).
            message: everything the client sent, ``{"type": "cancel", …}``.

        Returns:
            What the client is told, as JSON: ``{"type": "stream.cancelled", "data": {"result": …}}``.
        """

    def on_message(self, scope: Scope, message: Mapping[str, Any]) -> Any:
        """A message of a type of your own; for you to override, sync or async. What it returns is the reply, if not None."""

    async def _first(self, scope: Scope, script: WebSocketScript) -> Subscribe | None:
        """What to follow from the start, with names that are checked before a hook sees them."""
        request = scope_request(scope)
        if self._chooses:
            channels = self._bridge().wish(await self._chosen(scope)).channels
            first: Subscribe | None = Subscribe(channels, request.last_event_id, request.start, request.last)
        else:
            first = script.first(request)
            if first is not None:
                self._bridge().wish(first.channels)
        if first is not None and first.start is None and first.last is None:
            return dataclasses.replace(first, start=self.start, last=self.last)
        return first

    def _hook(
        self, scope: Scope, hook: Callable[..., Any], base: Callable[..., Any]
    ) -> Callable[[Mapping[str, Any]], Awaitable[Any]] | None:
        return functools.partial(_to_its_end, hook, scope) if _overridden(hook, base) else None


async def _accept(send: Send, subprotocol: str | None) -> bool:
    try:
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
    except OSError:
        return False  # spec 2.4: the client is gone
    return True


async def _to_its_end(hook: Callable[..., Any], *args: Any) -> Any:
    """A hook that goes on when its client leaves meanwhile: whoever says cancel and goes means it."""
    running = asyncio.ensure_future(_ask(hook, *args))
    _hooks.add(running)
    running.add_done_callback(_hooks.discard)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        running.add_done_callback(_report)  # nobody else looks at it now
        raise


def _report(hook: asyncio.Future[Any]) -> None:
    error = None if hook.cancelled() else hook.exception()
    if error is not None:
        logger.error("a hook failed after its client had left", exc_info=error)
