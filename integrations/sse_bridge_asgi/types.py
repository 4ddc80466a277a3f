"""The shapes of ASGI (spec 3.0), and what users hand in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[..., Awaitable[None]]  # frameworks annotate their scope and messages each in its own way

# Gets the scope and the channels; returns False, True or a Grant, or raises an SSEBridgeError. Sync or async.
Authorize = Callable[[Scope, tuple[str, ...]], Any]
# The channels of a stream: names, or a hook, sync or async, that gets the scope and returns names.
Channels = str | Iterable[str] | Callable[[Scope], Any]
# Gets the scope and a WebSocket client's message; the result is what it is answered. Sync or async.
MessageHook = Callable[[Scope, Any], Any]
