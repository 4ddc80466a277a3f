"""From a subscription or a user's iterable to a response body.

request    what a client asked for, from headers and query
response   status, headers and a body, neutral to every framework
rendering  batches to bytes
pacing     when a stream must say something, and when it must end; no clock of its own
patience   how long a client that takes nothing is waited for
channels   bodies that follow channels: a sync iterator and an async one
sources    bodies made of a user's iterable (what they say in source_script, what items look like in items)
compression  content codings: which one a client gets, and its bytes (compressors: one per connection; encoded: bodies)
crossing   a source of either colour for a body of either colour, by the pumps that draw its items
hooks      what users bring in the other colour
handoff    a view decides, the middleware streams
registry   the open streams of a bridge, and their drain
signals    the drain at SIGTERM and SIGINT
refusals   the small answer to an error
asgi       a body into an ASGI server
pushing    a stream into an ASGI server, written by the hub (stepping: its send; direct: its transport)
sockets    a stream's socket under a WSGI server, written by the hub
origin     which pages may open a WebSocket
cors       which pages may read a stream from another origin
websocket  what a WebSocket's two sides say, without I/O (its messages in websocket_messages)
websocket_session  the same on asyncio, and into an ASGI server by websocket_asgi
"""

from .asgi import scope_request, send_refusal, send_stream, with_headers
from .cors import Cors
from .handoff import HANDOFF_HEADER, Handoff, current_handoff, set_handoff
from .hooks import call_async, call_sync, grant_of, is_async
from .origin import check_origin
from .refusals import Refusal, method_not_allowed, refusal
from .request import StreamRequest, lower_headers
from .response import AsyncBody, Grant, StreamResponse, SyncBody, stream_channels
from .signals import ensure_drain_handler
from .sockets import WRITE_KEY, PushMiddleware, ServerWrite
from .sources import stream_source
from .websocket import SUBPROTOCOL, WebSocketScript
from .websocket_asgi import refuse_websocket, serve_session
from .websocket_messages import Cancel, Custom, Ping, Rejected, Subscribe, Unsubscribe
from .websocket_session import WebSocketSession

__all__ = [
    "HANDOFF_HEADER",
    "SUBPROTOCOL",
    "WRITE_KEY",
    "AsyncBody",
    "Cancel",
    "Cors",
    "Custom",
    "Grant",
    "Handoff",
    "Ping",
    "PushMiddleware",
    "Refusal",
    "Rejected",
    "ServerWrite",
    "StreamRequest",
    "StreamResponse",
    "Subscribe",
    "SyncBody",
    "Unsubscribe",
    "WebSocketScript",
    "WebSocketSession",
    "call_async",
    "call_sync",
    "check_origin",
    "current_handoff",
    "ensure_drain_handler",
    "grant_of",
    "is_async",
    "lower_headers",
    "method_not_allowed",
    "refusal",
    "refuse_websocket",
    "scope_request",
    "send_refusal",
    "send_stream",
    "serve_session",
    "set_handoff",
    "stream_channels",
    "stream_source",
    "with_headers",
]
