"""Sources of either colour, and their responses' bodies drawn piece by piece."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from sse_bridge import Bridge
from sse_bridge.streams import Grant, StreamRequest, stream_source
from tests.support.sse_parser import Frame, SSEParser

ADA = Grant(user="ada")


class Tokens:
    """An endless source of either colour.

    Attributes:
        begun, ended: how many of its iterators are on their way, or over.
    """

    def __init__(self) -> None:
        self.begun = self.ended = 0

    def sync(self) -> Iterator[str]:
        self.begun += 1
        try:
            while True:
                yield "token"
                time.sleep(0.02)  # paces a source, no test waits for it
        finally:
            self.ended += 1

    async def asynchronous(self) -> AsyncIterator[str]:
        self.begun += 1
        try:
            while True:
                yield "token"
                await asyncio.sleep(0.02)  # paces a source, no test waits for it
        finally:
            self.ended += 1


class Reading:
    """One body, drawn piece by piece; a sync one on threads."""

    def __init__(self, response: Any, colour: str) -> None:
        self.body: Any = getattr(response.bodies, f"{colour}_body")()
        self.received = b""

    @property
    def frames(self) -> list[Frame]:
        """What was received so far, of a response in SSE."""
        return list(SSEParser("").feed(self.received))

    async def next(self) -> bytes:
        """The next piece; empty at the end."""
        if hasattr(self.body, "__anext__"):
            piece = await asyncio.wait_for(anext(self.body, b""), 60)
        else:
            piece = await asyncio.wait_for(asyncio.to_thread(next, self.body, b""), 60)
        self.received += piece
        return bytes(piece)

    async def opened(self) -> Reading:
        while len(self.frames) < 2:
            assert await self.next()
        assert self.frames[0].event == "stream.open"
        return self

    async def reason(self) -> str:
        """Why it ended."""
        while await self.next():
            continue
        assert self.frames[-1].event == "stream.close", self.frames[-1]
        return str(json.loads(self.frames[-1].data)["reason"])


def read(bridge: Bridge, source: Any, grant: Grant | None, colour: str, **options: Any) -> Reading:
    return Reading(stream_source(bridge, source, StreamRequest(), grant=grant, **options), colour)
