"""Streams for raw ASGI: an app to mount, a middleware to put around anything, and a bridge for WSGI apps.

    application = SSEBridgeMiddleware(application, bridge, path="/events/", authorize=may_read)

serves ``/events/?channel=orders:42`` over SSE and WebSocket, and takes over the streams that views inside offer, so that
a sync view holds no thread while its client listens.
"""

from .app import EventStreamApp
from .middleware import SSEBridgeMiddleware
from .tokens import by_token
from .wsgi import WsgiApp, flask_asgi

__all__ = ["EventStreamApp", "SSEBridgeMiddleware", "WsgiApp", "by_token", "flask_asgi"]
