"""sse_bridge: real-time event streams for Python's sync world and its async one.

bridge        the façade; subscription, history, tokens, revocation, dead_letters, draining are its parts (part: in common)
default       the default bridge behind `publish` and `apublish`
token_hook    signed stream tokens as an authorize hook of ASGI adapters
metrics, cli  what looks at a whole bridge (cli_lines: what the commands print)
config        every setting (environment: which variables are settings)
errors, events, encoding, filters, redaction  the words that everybody speaks

From the ground up: runtime, records, follow, wire, admission, backends, publishing, hub, streams; and testing, for
applications. docs/architecture.md says what each is for.
"""

from .bridge import Bridge
from .config import Settings
from .default import apublish, configure, get_bridge, publish
from .errors import SSEBridgeError
from .events import Event, Json, Position, Text, Visibility
from .filters import PUBLIC, ByType, ByVisibility, Filter, Where
from .publishing.letters import DeadLetter

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
