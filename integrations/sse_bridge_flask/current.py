"""Which bridge is meant: the one of the current app, which `SSEBridge.init_app` put there."""

from __future__ import annotations

from typing import Any, Final

from flask import current_app, has_app_context

import sse_bridge
from sse_bridge import Bridge, Position
from sse_bridge.errors import ConfigurationError

EXTENSION: Final = "sse_bridge"  # the key in app.extensions


def get_bridge() -> Bridge:
    """The bridge of the current app; without an app context the default bridge of `sse_bridge`.

    Raises:
        ConfigurationError: the current app has none.
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
