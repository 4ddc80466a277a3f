"""The ticker as a script of its own: a plain process that publishes, without a web framework."""

from __future__ import annotations

from sse_bridge import get_bridge

from .sources import tick

if __name__ == "__main__":
    tick(get_bridge())
