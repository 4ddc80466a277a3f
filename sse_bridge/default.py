"""The default bridge behind the module-level `publish` and `apublish`.

It is the one given to `configure` (Django's and Flask's adapters do that), else one built from the environment
(``SSE_BRIDGE_URL`` …), else the memory backend.
"""

from __future__ import annotations

import threading
from typing import Any

from .bridge import Bridge
from .events import Position

_lock = threading.RLock()  # a signal handler may come back to it
_default: Bridge | None = None


def configure(bridge: Bridge | None) -> None:
    """Makes `bridge` the default one; None: built again from the environment at the next use."""
    replace_default(bridge)


def replace_default(bridge: Bridge | None) -> Bridge | None:
    """`configure`, and the default bridge before; for tests, which put it back."""
    global _default
    with _lock:
        previous, _default = _default, bridge
    return previous


def get_bridge() -> Bridge:
    """The default bridge, made at the first use."""
    global _default
    bridge = _default
    if bridge is None:
        with _lock:
            bridge = _default
            if bridge is None:
                made = Bridge()
                if _default is None:
                    _default = made
                bridge = _default
    return bridge


def publish(channel: str, data: Any = None, **options: Any) -> Position | None:
    """`Bridge.publish` on the default bridge."""
    return get_bridge().publish(channel, data, **options)


async def apublish(channel: str, data: Any = None, **options: Any) -> Position | None:
    """`Bridge.apublish` on the default bridge."""
    return await get_bridge().apublish(channel, data, **options)
