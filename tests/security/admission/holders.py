"""Ways of holding a stream, behind one face: an ASGI response, a WebSocket, and the bodies that other servers iterate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sse_bridge import Bridge
from sse_bridge.errors import SSEBridgeError
from sse_bridge.streams import Grant, StreamRequest, stream_channels
from sse_bridge_asgi import EventStreamApp
from tests.asgi.strict_server import Http, WebSocket
from tests.support.sse_parser import Frame, SSEParser
from tests.support.wait import await_for

WAYS = ("asgi", "websocket", "async_body", "sync_body")


class Held:
    """One stream.

    Attributes:
        answer: 200 when it is open, else the status (of a WebSocket's close code) or the reason it was sent away with.
    """

    answer: int | str = 200

    async def frame(self) -> tuple[str, Any]:
        """The next event: its type and its data."""
        raise NotImplementedError

    async def reason(self) -> str:
        """Why it ended."""
        while True:
            kind, data = await asyncio.wait_for(self.frame(), 60)
            if kind == "stream.close":
                return str(data["reason"])

    async def judge(self) -> None:
        kind, data = await asyncio.wait_for(self.frame(), 60)
        if kind != "stream.open":
            self.answer = data["reason"]


class _Frames(Held):
    """What arrives as bytes."""

    def __init__(self) -> None:
        self._parser = SSEParser("")
        self._frames: list[Frame] = []

    async def more(self) -> bytes:
        raise NotImplementedError

    async def frame(self) -> tuple[str, Any]:
        while not self._frames:
            self._frames += self._parser.feed(await self.more())
        frame = self._frames.pop(0)
        return frame.event, json.loads(frame.data)


class _Asgi(_Frames):
    def __init__(self, http: Http) -> None:
        super().__init__()
        self._http = http

    async def more(self) -> bytes:
        return await self._http.read_until(b"\n\n", 20)


class _Body(_Frames):
    def __init__(self, body: Any) -> None:
        super().__init__()
        self._body = body

    async def more(self) -> bytes:
        if hasattr(self._body, "__anext__"):
            return bytes(await self._body.__anext__())
        return bytes(await asyncio.to_thread(next, self._body))


class _Socket(Held):
    def __init__(self, client: WebSocket) -> None:
        self._client = client

    async def frame(self) -> tuple[str, Any]:
        message = json.loads(await self._client.take(20))
        return message["type"], message["data"]


@asynccontextmanager
async def hold(way: str, bridge: Bridge, user: str | None, *channels: str, **request: Any) -> AsyncIterator[Held]:
    """Opens a stream of these channels (``a`` if omitted) with a grant for `user`."""
    names = channels or ("a",)
    grant = Grant(user=user)
    held: Held
    if way in ("asgi", "websocket"):
        app = EventStreamApp(bridge, channels=names, authorize=lambda scope, channels: grant)
        if way == "asgi":
            async with Http(app) as http:
                held = _Asgi(http)
                held.answer = await http.head()
                if held.answer == 200:
                    await held.judge()
                yield held
        else:
            async with WebSocket(app, extensions={"websocket.http.response": {}}) as client:
                held = _Socket(client)
                await await_for(lambda: client.accepted or client.refusal)
                if client.status is not None:
                    held.answer = client.status
                else:
                    await held.judge()
                yield held
        return
    try:
        response = stream_channels(bridge, names, StreamRequest(**request), grant=grant)
    except SSEBridgeError as error:
        held = Held()
        held.answer = error.http_status
        yield held
        return
    assert response.bodies is not None
    body: Any = response.bodies.async_body() if way == "async_body" else response.bodies.sync_body()
    try:
        held = _Body(body)
        await held.judge()
        yield held
    finally:
        body.close()
