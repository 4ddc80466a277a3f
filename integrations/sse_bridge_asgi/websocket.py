"""The WebSocket side of a route (spec: HTTP & WebSocket 2.x): admission, and the session behind it.

Refusals come before the handshake, with an HTTP status where the server can send one (extension
``websocket.http.response``), else with 403.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sse_bridge import Bridge, SSEBridgeError
from sse_bridge.streams import (
    Grant,
    Subscribe,
    WebSocketScript,
    WebSocketSession,
    check_origin,
    lower_headers,
    refusal,
    refuse_websocket,
    scope_request,
    serve_session,
)

from .threads import call_hook
from .types import MessageHook, Receive, Scope, Send


@dataclass(frozen=True)
class WebSocketEndpoint:
    """Serves WebSockets; the arguments are those of `EventStreamApp`.

    Attributes:
        channels: those that the server chooses for a connection; None: the client chooses.
        grant: the decision on a connection's channels.
    """

    channels: Callable[[Scope], Awaitable[tuple[str, ...]]] | None
    grant: Callable[[Scope, tuple[str, ...]], Awaitable[Grant]]
    origins: tuple[str, ...]
    start: Mapping[str, Any]
    options: Mapping[str, Any]
    on_cancel: MessageHook | None
    on_message: MessageHook | None

    async def serve(self, bridge: Bridge, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection, from the handshake to its end."""
        if (await receive())["type"] != "websocket.connect":
            return
        script = WebSocketScript(bridge, time.monotonic(), fixed=self.channels is not None, **self.options)
        try:
            first, grant = await self._admit(bridge, script, scope)
        except SSEBridgeError as error:
            await refuse_websocket(refusal(error, debug=bridge.settings.debug), scope, send)
            return
        session = WebSocketSession(
            bridge,
            script,
            lambda text: send({"type": "websocket.send", "text": text}),
            authorize=partial(self.grant, scope),
            on_cancel=_bound(self.on_cancel, scope),
            on_message=_bound(self.on_message, scope),
        )
        await serve_session(session, first, grant, scope, receive, send)

    async def _admit(
        self, bridge: Bridge, script: WebSocketScript, scope: Scope
    ) -> tuple[Subscribe | None, Grant | None]:
        """The subscription in the query and the hook's grant; raises a refusal."""
        check_origin(lower_headers(scope["headers"]), self.origins)
        request = scope_request(scope)
        first = script.first(request)
        if self.channels is not None:
            channels = await self.channels(scope)
            first = Subscribe(channels, request.last_event_id, request.start, request.last)
            if request.start is None and request.last is None:
                first = Subscribe(channels, request.last_event_id, **self.start)
        if first is None:
            return None, None
        # raises for invalid names before a hook sees them
        grant = await self.grant(scope, bridge.subscribe_request(first.channels).channels)
        script.subscribe_request(first, None, grant)  # checks the rest while a status can still be sent
        return first, grant


def _bound(hook: MessageHook | None, scope: Scope) -> Callable[[Mapping[str, Any]], Any] | None:
    return None if hook is None else partial(call_hook, hook, scope)
