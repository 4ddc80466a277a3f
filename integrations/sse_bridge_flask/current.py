"""The bridge of the current app, set by `SSEBridge.init_app`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from flask import current_app, has_app_context

import sse_bridge
from sse_bridge import Bridge, Position
from sse_bridge.errors import ConfigurationError

EXTENSION: Final = "sse_bridge"  # the key in app.extensions


def get_bridge() -> Bridge:
    """The bridge of the current app; without an app context the default bridge of `sse_bridge`.

    Raises:
        ConfigurationError: the current app has no bridge.
    """
    if not has_app_context():
        return sse_bridge.get_bridge()
    bridge: Bridge | None = current_app.extensions.get(EXTENSION)
    if bridge is None:
        raise ConfigurationError(f"the app {current_app.name!r} has no bridge; call SSEBridge(app) or init_app(app)")
    return bridge


def publish(channel: str, data: Any = None, **options: Any) -> Position | None:
    """`Bridge.publish` on the current app's bridge; for sync views, threads and greenlets."""
    return get_bridge().publish(channel, data, **options)


async def apublish(channel: str, data: Any = None, **options: Any) -> Position | None:
    """`Bridge.apublish` on the current app's bridge; for async views."""
    return await get_bridge().apublish(channel, data, **options)


def position(*channels: str | Iterable[str]) -> str:
    """``{{ sse_position("orders:42") }}`` in templates: the id to resume from, by `Bridge.position` of the current app.

    The id stands for the moment of rendering, so place the tag above the state that the page shows, and read that state
    below it. For a state that the view reads, call ``get_bridge().position(…)`` in the view before.

    Args:
        channels: names, or lists of names.

    Raises:
        InvalidInput, BackendUnavailable: as `Bridge.position`.
        AsyncContextError: rendered in an async view; await ``get_bridge().aposition()`` there and pass it.
    """
    names: list[Any] = []
    for each in channels:
        names.extend([each] if isinstance(each, str) or not isinstance(each, Iterable) else each)
    return get_bridge().position(names)
