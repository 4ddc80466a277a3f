"""Type aliases of ASGI (spec 3.0) and of users' arguments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[..., Awaitable[None]]  # frameworks annotate scopes and messages differently

# Gets the scope and the channels; returns False, True or a Grant, or raises an SSEBridgeError. Sync or async.
Authorize = Callable[[Scope, tuple[str, ...]], Any]
# The channels of a stream: names, or a hook, sync or async, that gets the scope and returns names.
Channels = str | Iterable[str] | Callable[[Scope], Any]
# Gets the scope and a WebSocket client's message; returns the reply. Sync or async.
MessageHook = Callable[[Scope, Any], Any]
