"""What several of these tests ask."""

from __future__ import annotations

from sse_bridge import Bridge


def readers(bridge: Bridge) -> int:
    """How many readers the running loop's hub holds."""
    return bridge.loop_hub().readers()
