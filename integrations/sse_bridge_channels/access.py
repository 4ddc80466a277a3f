"""The base of the HTTP and the WebSocket consumers: options, and the hooks that decide on access."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import update_wrapper
from typing import Any

from channels.db import database_sync_to_async
from django.core.exceptions import PermissionDenied

from sse_bridge import Bridge, Filter, get_bridge
from sse_bridge.config import Policy
from sse_bridge.errors import ConfigurationError, NotAuthorized
from sse_bridge.streams import Grant, awaited, contained, ensure_drain_handler, grant_of, is_async

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class BridgeConsumer:
    """A consumer, one instance per connection. Options are class attributes, or arguments of `as_asgi`.

    Hooks may be sync or async, methods of a subclass or functions given to `as_asgi`. Sync ones run in Channels' database
    thread, and old database connections are closed before each, as Channels does before its own handlers.

    Attributes:
        bridge: the default bridge (`sse_bridge.get_bridge`) if None.
        filter: the events that clients get; events not for browsers are hidden unless it names visibilities. A grant's
            own filter wins.
        policy: the slow-reader policy; the bridge's setting if None.
        queue_size: events behind which a client counts as slow; likewise.
        start: ``"earliest"`` or ``"now"``: where a client without an id begins; its own ``?after=`` wins.
        last: begin with the last so many events instead; the client's own ``?last=`` wins.
    """

    bridge: Bridge | None = None
    filter: Filter | None = None
    policy: Policy | None = None
    queue_size: int | None = None
    start: str | None = None
    last: int | None = None

    def __init__(self, **options: Any) -> None:
        known = [name for name in dir(type(self)) if not name.startswith("_") and name != "as_asgi"]
        for name, value in options.items():
            if name not in known:
                raise ConfigurationError(
                    f"{type(self).__name__} has no option {name!r}; it has {', '.join(known)}, and a subclass may add more"
                )
            setattr(self, name, value)
        self._authorizes = _overridden(self.authorize, BridgeConsumer.authorize)
        self._chooses = _overridden(self.get_channels, BridgeConsumer.get_channels)
        if not self._authorizes and not self._chooses:
            name = type(self).__name__
            raise ConfigurationError(
                f"clients of {name} choose their channels, so it needs an authorize(scope, channels) hook that returns "
                f"False, True or a Grant: a method of a subclass, or {name}.as_asgi(authorize=…). To let everybody "
                "follow every channel, say authorize=lambda scope, channels: True"
            )

    @classmethod
    def as_asgi(cls, **options: Any) -> Application:
        """The ASGI application for Channels' URLRouter; it makes one consumer per connection.

        Raises:
            ConfigurationError: an unknown option or format, or clients choose channels without an `authorize` hook.
        """
        cls(**options)  # raises for a mistake at startup, not at the first connection
        ensure_drain_handler()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await cls(**options)(scope, receive, send)

        app.consumer_class = cls  # type: ignore[attr-defined]  # as Channels' as_asgi does
        app.consumer_initkwargs = options  # type: ignore[attr-defined]
        update_wrapper(app, cls, updated=())
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    def _check_type(self, scope: Scope, served: str) -> None:
        if scope["type"] != served:
            raise ValueError(
                f"{type(self).__name__} serves {served}, got a scope of type {scope['type']!r}; check the router"
            )

    def get_channels(self, scope: Scope) -> Any:
        """The channels of this connection, one name or several; override it, else the client chooses.

        Args:
            scope: Channels' own: ``scope["user"]`` inside AuthMiddlewareStack, ``scope["url_route"]["kwargs"]``.
        """
        raise NotImplementedError

    def authorize(self, scope: Scope, channels: tuple[str, ...]) -> Any:
        """Whether this connection may follow these channels; override it.

        Args:
            scope: Channels' own.
            channels: all channels to follow.

        Returns:
            False (403), True or a `sse_bridge.streams.Grant` (user, expiry, filter). It may raise `NotAuthenticated`
            (401) or Django's ``PermissionDenied``.
        """
        raise NotAuthorized("no authorize hook allows these channels")

    def _bridge(self) -> Bridge:
        return self.bridge if self.bridge is not None else get_bridge()

    async def _grant(self, scope: Scope, channels: tuple[str, ...]) -> Grant:
        """The decision of `authorize`, which may be missing where only the server chooses channels."""
        if not self._authorizes:
            return Grant()
        try:
            return grant_of(await _ask(self.authorize, scope, channels))
        except PermissionDenied as error:
            raise NotAuthorized(str(error) or "the authorize hook does not allow these channels") from None


class _WebSocketConsumer(BridgeConsumer):
    origins: Sequence[str] | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if isinstance(self.origins, str):
            raise ConfigurationError(f"origins must be a list of origins, got {self.origins!r:.200}")

    async def _connects(self, scope: Scope, receive: Receive) -> bool:
        """Whether the first message is that a client connects; else it has left already."""
        self._check_type(scope, "websocket")
        return bool((await receive())["type"] == "websocket.connect")


async def _ask(hook: Callable[..., Any], *args: Any) -> Any:
    """A hook's result; a sync hook runs with Channels' handling of database connections."""
    if is_async(hook):
        await _close_old_connections()
        return await awaited(hook, hook(*args))
    result = await database_sync_to_async(contained(hook))(*args)
    return await awaited(hook, result) if inspect.isawaitable(result) else result


@database_sync_to_async
def _close_old_connections() -> None:
    """Does nothing: database_sync_to_async closes old connections before and after the call."""


def _overridden(method: Callable[..., Any], base: Callable[..., Any]) -> bool:
    return getattr(method, "__func__", method) is not base
