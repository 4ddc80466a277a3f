"""sse_bridge: real-time event streams for Python's sync world and its async one."""

from .backends.letters import DeadLetter
from .bridge import Bridge
from .config import Settings
from .default import apublish, configure, get_bridge, publish
from .errors import SSEBridgeError
from .events import Event, Json, Position, Text, Visibility
from .filters import PUBLIC, ByType, ByVisibility, Filter, Where

__all__ = [
    "PUBLIC",
    "Bridge",
    "ByType",
    "ByVisibility",
    "DeadLetter",
    "Event",
    "Filter",
    "Json",
    "Position",
    "SSEBridgeError",
    "Settings",
    "Text",
    "Visibility",
    "Where",
    "apublish",
    "configure",
    "get_bridge",
    "publish",
]
