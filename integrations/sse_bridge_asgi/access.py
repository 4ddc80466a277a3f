"""Access to channels: chosen by the server or the client, and decided by the application's hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import Grant, awaited, call_async, grant_of, is_async

from .threads import own_thread
from .types import Authorize, Channels, Scope


async def call_hook(hook: Callable[..., Any], *args: Any) -> Any:
    """The result of a sync or async hook.

    Each sync hook gets a thread of its own: by default asgiref runs all of a process on one thread.
    """
    if is_async(hook):
        return await awaited(hook, hook(*args))
    with own_thread():
        return await call_async(hook, *args)


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
        waiting = awaited(hook, hook(scope, channels)) if self._waits else call_hook(hook, scope, channels)
        return grant_of(await waiting)


def _names(channels: Any) -> tuple[str, ...]:
    return (channels,) if isinstance(channels, str) else tuple(channels)
