"""Events to bytes: the formats, and the choice among them. Only this room writes frames.

base         the contract of a format; each stands in the lists below
negotiation  the choice of a client's format
sse          server-sent events, also for clients that read ``data:`` alone
envelope     JSON envelopes: NDJSON, JSON arrays, WebSocket messages
text         only the data
"""

from __future__ import annotations

from typing import Final

from .base import Format
from .envelope import JSON_ARRAY_FORMAT, NDJSON_FORMAT, WEBSOCKET_FORMAT
from .negotiation import check_named, choose, negotiate
from .sse import SSE_DATA_FORMAT, SSE_FORMAT, TYPED_SSE_DATA_FORMAT
from .text import BYTES_FORMAT, TEXT_FORMAT

# The formats of a stream of channels over HTTP; the first is the default.
CHANNEL_FORMATS: Final[tuple[Format, ...]] = (SSE_FORMAT, NDJSON_FORMAT, TEXT_FORMAT, SSE_DATA_FORMAT)
# A source, which ends, has two more.
SOURCE_FORMATS: Final[tuple[Format, ...]] = (*CHANNEL_FORMATS, JSON_ARRAY_FORMAT, BYTES_FORMAT)

__all__ = [
    "BYTES_FORMAT",
    "CHANNEL_FORMATS",
    "JSON_ARRAY_FORMAT",
    "NDJSON_FORMAT",
    "SOURCE_FORMATS",
    "SSE_DATA_FORMAT",
    "SSE_FORMAT",
    "TEXT_FORMAT",
    "TYPED_SSE_DATA_FORMAT",
    "WEBSOCKET_FORMAT",
    "Format",
    "check_named",
    "choose",
    "negotiate",
]
