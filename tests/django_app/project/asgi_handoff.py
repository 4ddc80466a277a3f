"""For ASGI servers: the middleware takes the streams over."""

from sse_bridge_asgi import SSEBridgeMiddleware
from tests.django_app.project.asgi import app as django_app

app = SSEBridgeMiddleware(django_app, path=None)
