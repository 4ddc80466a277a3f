"""Streams for raw ASGI: an app to mount, a middleware to put around anything, and a bridge for WSGI apps.

    application = SSEBridgeMiddleware(application, bridge, path="/events/", authorize=may_read)

serves ``/events/?channel=orders:42`` over SSE and WebSocket, and takes over the streams that views inside offer, so that
a sync view holds no thread while its client listens.

app         `EventStreamApp` and its hooks (websocket: its WebSocket side; lifespan: events of a root app)
middleware  `SSEBridgeMiddleware` (handoff: the streams that views offer)
wsgi        a WSGI app on ASGI
source      an iterable over WebSocket
threads     a thread for each sync hook
types       type aliases of ASGI and of hooks
"""

from sse_bridge.token_hook import by_token

from .app import EventStreamApp
from .middleware import SSEBridgeMiddleware
from .source import send_source
from .wsgi import WsgiApp, flask_asgi

__all__ = ["EventStreamApp", "SSEBridgeMiddleware", "WsgiApp", "by_token", "flask_asgi", "send_source"]
