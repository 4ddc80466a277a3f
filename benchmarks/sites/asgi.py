"""The raw ASGI adapter. Readers name their channels in the query: /?channel=c0&channel=c1."""

from sse_bridge import Bridge
from sse_bridge_asgi import EventStreamApp

bridge = Bridge()


async def everybody(scope: object, channels: tuple[str, ...]) -> bool:
    """Async, since a sync hook takes a thread for each connection (0.5 ms)."""
    return True


app = EventStreamApp(bridge, authorize=everybody)
