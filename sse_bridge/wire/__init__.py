"""Events to bytes: the formats, and which one a client gets. The only place that writes a frame."""

from __future__ import annotations

from typing import Final

from .base import Format
from .json_array import JSON_ARRAY_FORMAT
from .ndjson import NDJSON_FORMAT
from .negotiation import negotiate
from .sse import SSE_FORMAT
from .text import BYTES_FORMAT, TEXT_FORMAT
from .websocket import WEBSOCKET_FORMAT

# What a stream of channels offers over HTTP; the first is the default.
CHANNEL_FORMATS: Final[tuple[Format, ...]] = (SSE_FORMAT, NDJSON_FORMAT, TEXT_FORMAT)
# What a source that ends offers besides.
SOURCE_FORMATS: Final[tuple[Format, ...]] = (*CHANNEL_FORMATS, JSON_ARRAY_FORMAT, BYTES_FORMAT)

__all__ = [
    "BYTES_FORMAT",
    "CHANNEL_FORMATS",
    "JSON_ARRAY_FORMAT",
    "NDJSON_FORMAT",
    "SOURCE_FORMATS",
    "SSE_FORMAT",
    "TEXT_FORMAT",
    "WEBSOCKET_FORMAT",
    "Format",
    "negotiate",
]
