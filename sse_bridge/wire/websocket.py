"""WebSocket: one JSON envelope per text message.

Browsers show no ping frames to a page, so a heartbeat is a message that a client can watch for; the library's own
clients answer none. Servers decode the bytes as UTF-8 for the text message, so frames are always valid UTF-8.
"""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from .envelope import EnvelopeFormat


class WebSocket(EnvelopeFormat):
    """JSON text messages."""

    name: ClassVar[str] = "websocket"
    content_type: ClassVar[str] = "application/json"  # of one message, since there is no response
    media_types: ClassVar[tuple[str, ...]] = ()
    joins: ClassVar[bool] = False

    @override
    def heartbeat(self) -> bytes:
        return b'{"type":"stream.heartbeat"}'


WEBSOCKET_FORMAT = WebSocket()
