"""sse_bridge for Django: streams from sync and async views, under WSGI and ASGI.

# settings.py
INSTALLED_APPS = [..., "sse_bridge_django"]
SSE_BRIDGE = {"URL": "redis://localhost:6379/0"}                 # without it: the memory backend, one process

# views.py
from sse_bridge_django import event_stream, publish

def order_events(request, number):                              # ``async def`` works as well
    return event_stream(request, f"orders:{number}")

publish("orders:42", {"status": "paid"}, type="order.paid")     # from any sync code; ``await apublish(…)`` elsewhere

responses  `event_stream`: a stream as the return value of a view
views      the class-based view (urls: a mounted route where the client chooses the channels)
commits    publishing that waits for the transaction
conf       the setting (apps: startup; checks: system checks; servers: recognises the server)
tokens     signed stream tokens as the authorize hook
"""

from __future__ import annotations

try:
    import django  # noqa: F401  # for a clear error if missing
except ImportError as error:
    raise ImportError("sse_bridge_django needs Django 5.2 or later: pip install 'sse-bridge[django]'") from error

from sse_bridge import apublish, get_bridge, publish

from .commits import publish_on_commit
from .responses import EventStreamResponse, event_stream
from .tokens import by_token
from .urls import event_stream_path
from .views import EventStreamView

__all__ = [
    "EventStreamResponse",
    "EventStreamView",
    "apublish",
    "by_token",
    "event_stream",
    "event_stream_path",
    "get_bridge",
    "publish",
    "publish_on_commit",
]
