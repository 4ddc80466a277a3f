"""Channels over WebSocket, by the protocol of `sse_bridge.streams.websockets.protocol`."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sse_bridge import SSEBridgeError
from sse_bridge.streams import (
    Subscribe,
    WebSocketScript,
    WebSocketSession,
    lower_headers,
    refusal,
    refuse_websocket,
    scope_request,
    serve_session,
)

from .access import Receive, Scope, Send, _ask, _overridden, _WebSocketConsumer
from .origins import check_allowed_origin

logger = logging.getLogger("sse_bridge.channels")

_hooks: Final[set[asyncio.Future[Any]]] = set()  # running hooks; asyncio itself holds tasks weakly


class EventWebSocketConsumer(_WebSocketConsumer):
    """Subscribe, unsubscribe, resume by id, cancel; `authorize` is called at each subscribe.

        path("ws/events/", OrderSocket.as_asgi())

        class OrderSocket(EventWebSocketConsumer):
            async def authorize(self, scope, channels):
                return all([name.startswith(f"user:{scope['user'].pk}:") for name in channels])

            async def on_cancel(self, scope, message):
                await stop_run(message["run"], by=scope["user"])

    With a `get_channels` the server chooses, and clients cannot subscribe to others. A connection that is not allowed is
    refused in the handshake, with the error's own status where the server can send one, else with 403.

    Attributes:
        origins: the origins whose pages may connect, in the syntax of Channels' OriginValidator
            (``"https://.example.com"``, ``"*"``); None: those of ``settings.ALLOWED_HOSTS``.
        start, last: for the channels of the query or of `get_channels`; a later subscribe message has its own.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection; returns at its end."""
        if not await self._connects(scope, receive):
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
            if first is not None:
                # other refusals come here, while a status can still be sent
                script.subscribe_request(first, None, grant)
        except SSEBridgeError as error:
            await refuse_websocket(refusal(error, debug=bridge.settings.debug), scope, send)
            return
        session = WebSocketSession(
            bridge, script, lambda text: send({"type": "websocket.send", "text": text}),
            authorize=functools.partial(self._grant, scope),
            on_cancel=self._hook(scope, self.on_cancel, EventWebSocketConsumer.on_cancel),
            on_message=self._hook(scope, self.on_message, EventWebSocketConsumer.on_message),
        )  # fmt: skip
        await serve_session(session, first, grant, scope, receive, send)

    def on_cancel(self, scope: Scope, message: Mapping[str, Any]) -> Any:
        """Handles a client's request to stop the run behind its stream; override it, sync or async.

        Args:
            scope: Channels' own; raise `NotAuthorized` if its user may not stop that run.
            message: the client's whole message, ``{"type": "cancel", …}``.

        Returns:
            The result in the reply, with a JSON form: ``{"type": "stream.cancelled", "data": {"result": …}}``.
        """

    def on_message(self, scope: Scope, message: Mapping[str, Any]) -> Any:
        """Handles a message of the application's own type and returns the reply or None; override it, sync or async."""

    async def _first(self, scope: Scope, script: WebSocketScript) -> Subscribe | None:
        """The subscription from the start, with names checked before a hook sees them."""
        request = scope_request(scope)
        if self._chooses:
            channels = self._bridge().subscribe_request(await _ask(self.get_channels, scope)).channels
            first: Subscribe | None = Subscribe(channels, request.last_event_id, request.start, request.last)
        else:
            first = script.first(request)
            if first is not None:
                self._bridge().subscribe_request(first.channels)
        if first is not None and first.start is None and first.last is None:
            return dataclasses.replace(first, start=self.start, last=self.last)
        return first

    def _hook(
        self, scope: Scope, hook: Callable[..., Any], base: Callable[..., Any]
    ) -> Callable[[Mapping[str, Any]], Awaitable[Any]] | None:
        return functools.partial(_to_its_end, hook, scope) if _overridden(hook, base) else None


async def _to_its_end(hook: Callable[..., Any], *args: Any) -> Any:
    """Runs a hook to its end even if its client leaves meanwhile, since a cancel followed by a disconnect is meant."""
    running = asyncio.ensure_future(_ask(hook, *args))
    _hooks.add(running)
    running.add_done_callback(_hooks.discard)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        running.add_done_callback(_report)  # no caller is left that would see the hook fail
        raise


def _report(hook: asyncio.Future[Any]) -> None:
    error = None if hook.cancelled() else hook.exception()
    if error is not None:
        logger.error("WebSocket hook failed after its client had left; no reply is sent", exc_info=error)
