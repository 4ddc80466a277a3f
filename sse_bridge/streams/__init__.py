"""From a subscription or a user's iterable to a response; what adapters use stands in `__all__`.

lifecycle   opening, deadlines and end of every stream
http        requests and responses, neutral to frameworks
channels    streams that follow channels
sources     streams of a user's iterable
websockets  the WebSocket protocol
asgi        streams into an ASGI server
writers     writing past a server's own calls, where that is cheaper
"""

from ..admission.grants import Grant, grant_of
from ..runtime.containment import awaited, contained, failure_in_task
from .asgi.handoff import HANDOFF_HEADER, Handoff, current_handoff, set_handoff
from .asgi.send import scope_request, send_refusal, send_stream, with_headers
from .asgi.websocket import refuse_websocket, serve_session
from .asgi.websocket_source import serve_source
from .channels.response import check_format, confirm_end, stream_channels
from .http.cors import Cors
from .http.hooks import call_async, call_sync, is_async
from .http.refusals import Refusal, method_not_allowed, refusal
from .http.request import StreamRequest, lower_headers
from .http.response import AsyncBody, StreamResponse, SyncBody
from .lifecycle.ending import IncompleteStream
from .lifecycle.signals import ensure_drain_handler
from .sources.bodies import stream_source
from .sources.iterables import discard
from .websockets.messages import Cancel, Custom, Ping, Rejected, Subscribe, Unsubscribe
from .websockets.origin import MAX_ORIGIN_CHARACTERS, check_origin
from .websockets.protocol import SUBPROTOCOL, WebSocketScript
from .websockets.session import WebSocketSession
from .writers.socket import WRITE_KEY, PushMiddleware, ServerWrite

__all__ = [
    "HANDOFF_HEADER",
    "MAX_ORIGIN_CHARACTERS",
    "SUBPROTOCOL",
    "WRITE_KEY",
    "AsyncBody",
    "Cancel",
    "Cors",
    "Custom",
    "Grant",
    "Handoff",
    "IncompleteStream",
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
    "awaited",
    "call_async",
    "call_sync",
    "check_format",
    "check_origin",
    "confirm_end",
    "contained",
    "current_handoff",
    "discard",
    "ensure_drain_handler",
    "failure_in_task",
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
    "serve_source",
    "set_handoff",
    "stream_channels",
    "stream_source",
    "with_headers",
]
