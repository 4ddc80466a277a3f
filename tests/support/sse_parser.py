"""Server-sent events back from bytes: the strict parser that users get in `sse_bridge.testing`, and an independent one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import httpx
import httpx_sse

from sse_bridge.testing import ServerSentEvent as Frame
from sse_bridge.testing import SSEParser
from sse_bridge.testing import parse_sse as parse

__all__ = ["Frame", "SSEParser", "parse", "parse_with_httpx_sse"]


def parse_with_httpx_sse(chunks: Iterable[bytes]) -> Iterator[httpx_sse.ServerSentEvent]:
    """The same bytes through httpx-sse, a parser that shares nothing with ours."""
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=iter(chunks))
    return httpx_sse.EventSource(response).iter_sse()
