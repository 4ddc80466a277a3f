"""A client of one stream, or of what is answered in its place, over strict callers of ASGI and WSGI in this process.

It says how it was answered in the words of the table in docs/security.md: ``opens``; a status; the reason of the
``stream.close`` that stands in place of a stream, over a WebSocket with the close code; or ``cut``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from wsgiref.validate import validator

from werkzeug.test import create_environ

from sse_bridge.streams import IncompleteStream
from tests.asgi.strict_server import Http, WebSocket
from tests.support.sse_parser import Frame, SSEParser
from tests.support.wait import await_for


class Client:
    """One request, or one connection.

    Attributes:
        answer: see the module; once `answered` returned.
        headers: names in lower case.
        frames: those that were read.
    """

    answer = ""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.frames: list[Frame] = []

    async def answered(self) -> str:
        raise NotImplementedError

    async def ending(self) -> str:
        """How a stream that was open ended."""
        raise NotImplementedError

    async def next(self) -> Frame | None:
        """The next frame; None at the end."""
        raise NotImplementedError

    async def until(self, kind: str) -> None:
        while (frame := await self.next()) is not None:
            if frame.event == kind:
                return
        raise AssertionError(f"the stream ended before {kind!r}: {self.frames}")


class _Bytes(Client):
    """HTTP on either interface; where the format is not made of events, a piece stands for a message."""

    def __init__(self, events: bool) -> None:
        super().__init__()
        self.body = b""
        self.was_cut = False
        self._events = events
        self._parser = SSEParser("")
        self._pending: list[Frame] = []

    async def status(self) -> int:
        raise NotImplementedError

    async def piece(self) -> bytes:
        """The next bytes; empty at the end."""
        raise NotImplementedError

    async def next(self) -> Frame | None:
        while not self._pending:
            piece = await self.piece()
            if not piece:
                return None
            self.body += piece
            self._pending += self._parser.feed(piece) if self._events else [Frame("", "message", piece.decode())]
        self.frames.append(self._pending.pop(0))
        return self.frames[-1]

    async def answered(self) -> str:
        status = await self.status()
        first = await self.next() if status == 200 else None
        if status != 200:
            while piece := await self.piece():
                self.body += piece
            self.answer = str(status)
        elif first is not None and first.event == ("stream.open" if self._events else "message"):
            self.answer = "opens"
        else:
            self.answer = await self.ending()
        return self.answer

    async def ending(self) -> str:
        while await self.next() is not None:
            continue
        if self.was_cut:
            return "cut"
        assert self.frames[-1].event == "stream.close", self.frames
        return str(json.loads(self.frames[-1].data)["reason"])


class _Asgi(_Bytes):
    def __init__(self, http: Http, events: bool) -> None:
        super().__init__(events)
        self._http = http

    async def status(self) -> int:
        status = await self._http.head()
        self.headers = self._http.headers
        return status

    async def piece(self) -> bytes:
        http, before = self._http, len(self._http.body)
        await http._until(lambda: len(http._take()) > before or http.complete, "more of the body")
        self.was_cut = http.task.done() and not http.complete
        return http._take()[before:]


class _Wsgi(_Bytes):
    def __init__(self, app: Any, environ: dict[str, Any], events: bool) -> None:
        super().__init__(events)
        self._app = validator(app)
        self._environ = environ
        self._status = ""
        self._iterable: Any = None
        self._pieces: Iterator[bytes] = iter(())

    async def status(self) -> int:
        def call() -> None:
            self._iterable = self._app(self._environ, self._start)
            self._pieces = iter(self._iterable)

        await asyncio.to_thread(call)
        return int(self._status.split()[0])

    async def piece(self) -> bytes:
        try:
            return await asyncio.to_thread(next, self._pieces, b"")
        except IncompleteStream:
            self.was_cut = True
            return b""

    def _start(self, status: str, headers: list[tuple[str, str]], error: Any = None) -> Callable[[bytes], object]:
        self._status, self.headers = status, {name.lower(): value for name, value in headers}
        return lambda data: None

    def close(self) -> None:
        if self._iterable is not None:
            self._iterable.close()


class _Socket(Client):
    def __init__(self, socket: WebSocket) -> None:
        super().__init__()
        self._socket = socket

    async def next(self) -> Frame | None:
        socket = self._socket
        await await_for(lambda: socket.messages.qsize() or socket.task.done())
        if not socket.messages.qsize():
            return None
        message = json.loads(await socket.take())
        frame = Frame(message.get("id") or "", message["type"], json.dumps(message.get("data")))
        self.frames.append(frame)
        return frame

    async def answered(self) -> str:
        socket = self._socket
        await await_for(lambda: socket.accepted or socket.task.done())
        if not socket.accepted:
            await socket.ended()
            self.answer = str(socket.status)
            return self.answer
        first = await self.next()
        self.answer = "opens" if first is not None and first.event == "stream.open" else await self.ending()
        return self.answer

    async def ending(self) -> str:
        while await self.next() is not None:
            continue
        assert self.frames[-1].event == "stream.close", self.frames
        return f"{json.loads(self.frames[-1].data)['reason']} {self._socket.closed}"


@asynccontextmanager
async def over_asgi(app: Any, target: str, headers: dict[str, str], events: bool) -> AsyncIterator[Client]:
    async with Http(app, target, headers=headers) as http:
        yield _Asgi(http, events)


@asynccontextmanager
async def over_wsgi(app: Any, target: str, headers: dict[str, str], events: bool) -> AsyncIterator[Client]:
    environ = create_environ(target, headers=headers)
    environ["QUERY_STRING"] = environ["QUERY_STRING"] or ""
    client = _Wsgi(app, environ, events)
    try:
        yield client
    finally:
        await asyncio.to_thread(client.close)


@asynccontextmanager
async def over_websocket(app: Any, target: str, headers: dict[str, str], events: bool) -> AsyncIterator[Client]:
    async with WebSocket(app, target, extensions={"websocket.http.response": {}}) as socket:
        yield _Socket(socket)


Connect = Callable[[Any, str, dict[str, str], bool], AbstractAsyncContextManager[Client]]
