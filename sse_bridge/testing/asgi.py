"""A client for ASGI apps in memory that reads a response while it is being sent, and can leave at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

from .parser import BrokenStream
from .streams import AsyncStreamReader

_Receive = Callable[[], Awaitable[dict[str, Any]]]
ASGIApp = Callable[[Any, _Receive, Any], Awaitable[None]]


class _Response:
    """An ASGI app's response while it is being sent."""

    def __init__(self, sent: Mapping[str, str]) -> None:
        self.request = SimpleNamespace(headers=sent)
        self.status_code = 0
        self.headers: dict[str, str] = {}
        self.started = asyncio.Event()
        self.error: Exception | None = None
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status_code = message["status"]
            self.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]
            }
            self.started.set()
        elif message["type"] == "http.response.body":
            self._pieces.put_nowait(message.get("body", b""))
            if not message.get("more_body", False):
                self.finish()

    def finish(self) -> None:
        self._pieces.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def asgi_stream(
    app: ASGIApp,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    body: bytes = b"",
    timeout: float = 5.0,
) -> AsyncIterator[AsyncStreamReader]:
    """Requests a stream from an ASGI app (Starlette, FastAPI, Django, our own) in memory, on the running loop.

    At the end of the block the client leaves, and the app must return within `timeout`. The app's lifespan is not run.

    Args:
        path: the path with its query string, quoted as in a URL.
        timeout: seconds for the response's head, for each event, and for the app's end.

    Raises:
        BrokenStream: the status is not 200, or the app did not answer or end in time.
    """
    sent = headers or {}
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()]
    response, gone, requested = _Response(sent), asyncio.Event(), False
    plain, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": unquote(plain), "raw_path": plain.encode(), "query_string": query.encode(),
        "root_path": "", "headers": [(b"host", b"testserver"), *encoded], "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80), "state": {},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        nonlocal requested
        if not requested:
            requested = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def call() -> None:
        try:
            await app(scope, receive, response.send)
        except Exception as error:
            response.error = error
            raise
        finally:
            response.started.set()
            response.finish()

    task = asyncio.ensure_future(call())
    try:
        try:
            await asyncio.wait_for(response.started.wait(), timeout)
        except TimeoutError:
            raise BrokenStream(f"expected {path!r} to answer within {timeout} s") from None
        if not response.status_code:
            raise response.error or BrokenStream(f"expected {path!r} to be answered, but the app returned")
        yield AsyncStreamReader(response, timeout)
    finally:
        gone.set()
        _, late = await asyncio.wait({task}, timeout=timeout)
        if late:
            task.cancel()
            await asyncio.wait({task}, timeout=timeout)
        if not task.cancelled() and task.done():
            task.exception()  # retrieved, since the reader raises the error
    if late:
        raise BrokenStream(f"expected the app to return within {timeout} s after its client left {path!r}")
    if response.error is not None:
        raise response.error
