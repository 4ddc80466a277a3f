"""The raw ASGI adapter. Readers name their channels in the query: /?channel=c0&channel=c1."""

from sse_bridge import Bridge
from sse_bridge_asgi import EventStreamApp

bridge = Bridge()
app = EventStreamApp(bridge, authorize=lambda scope, channels: True)
