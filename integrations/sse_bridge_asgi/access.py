"""Which channels a connection gets: the server's choice or the client's, and the application's hooks that decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import ThreadSensitiveContext

from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import Grant, call_async, grant_of, is_async

from .types import Authorize, Channels, Scope


async def call_hook(hook: Callable[..., Any], *args: Any) -> Any:
    """The result of a hook of either colour.

    Each sync hook gets a thread of its own: by default asgiref runs all of a process on one, one after the other.
    """
    if is_async(hook):
        return await hook(*args)
    async with ThreadSensitiveContext():
        return await call_async(hook, *args)


class Access:
    """See the module.

    Args:
        channels: the server's choice; None: the client's, by ``?channel=`` or its subscribe messages.
        authorize: decides on either; needed where the client chooses.

    Raises:
        ConfigurationError: nobody decides.
    """

    def __init__(self, channels: Channels | None, authorize: Authorize | None) -> None:
        if channels is None and authorize is None:
            raise ConfigurationError(
                "clients choose the channels of this route, so it needs authorize=, a function (sync or async) of the "
                "scope and the channels that returns False, True or a Grant; to let everybody read everything, say "
                "authorize=lambda scope, channels: True; or choose the channels yourself with channels="
            )
        for name, hook in (("authorize", authorize), ("channels", None if _are_names(channels) else channels)):
            if hook is not None and not callable(hook):
                raise ConfigurationError(f"{name}= must be callable, got {hook!r:.100}")
        self._channels = channels if callable(channels) or channels is None else _names(channels)
        self._authorize = authorize

    @property
    def fixed(self) -> bool:
        """The server chooses."""
        return self._channels is not None

    async def channels(self, scope: Scope, asked: tuple[str, ...]) -> tuple[str, ...]:
        """The channels of this connection; `asked` is what the client named."""
        if self._channels is None:
            return asked
        if callable(self._channels):
            return _names(await call_hook(self._channels, scope))
        return _names(self._channels)

    async def grant(self, scope: Scope, channels: tuple[str, ...]) -> Grant:
        """What the hook says; raises `NotAuthorized`, `NotAuthenticated` or what else the hook raises."""
        if self._authorize is None:
            return Grant()
        return grant_of(await call_hook(self._authorize, scope, channels))


def _are_names(channels: Any) -> bool:
    return channels is None or isinstance(channels, str) or hasattr(channels, "__iter__")


def _names(channels: Any) -> tuple[str, ...]:
    return (channels,) if isinstance(channels, str) else tuple(channels)
