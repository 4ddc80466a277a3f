"""A streaming response, event by event, so that a test neither hangs nor guesses how many bytes to read."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from typing_extensions import Self

from .parser import BrokenStream, ServerSentEvent, SSEParser

_Receive = Callable[[], Awaitable[dict[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Any, _Receive, Any], Awaitable[None]]


def read_stream(response: Any, timeout: float = 5.0) -> StreamReader:
    """Reads the response of a test client: Django's ``Client``, Flask's ``test_client()``, httpx's ``stream()``, or any
    iterable of bytes.

    The body is iterated on a thread of its own, so a view's generator must not need the test's own thread (a database
    transaction that the test has open).

    Args:
        response: its status must be 200.
        timeout: seconds that each event may take.

    Raises:
        BrokenStream: the status is another one.
    """
    return StreamReader(response, timeout)


class _Events:
    """What both colours share: bytes to events."""

    def __init__(self, response: Any, timeout: float) -> None:
        status = getattr(response, "status_code", 200)
        if status != 200:
            raise BrokenStream(f"expected a stream with status 200, got status {status}{_reason(response)}")
        self.parser = SSEParser()
        self.timeout = timeout
        self._pending: deque[ServerSentEvent] = deque()
        self._seen: list[ServerSentEvent] = []

    def _feed(self, chunk: bytes | str) -> None:
        events = self.parser.feed(chunk.encode() if isinstance(chunk, str) else chunk)
        self._pending.extend(events)
        self._seen.extend(events)

    def _late(self) -> BrokenStream:
        return BrokenStream(f"expected an event within {self.timeout} s; before that came {self._seen!r}")

    def _over(self) -> BrokenStream:
        return BrokenStream(f"expected another event, but the stream ended after {self._seen!r}")


class StreamReader(_Events):
    """A response under way; made by `read_stream`. A context manager, which closes the response.

    Attributes:
        parser: ``parser.comments`` are the heartbeats so far, ``parser.last_event_id`` is where to resume.
    """

    def __init__(self, response: Any, timeout: float) -> None:
        super().__init__(response, timeout)
        self._response = response
        self._pieces: queue.SimpleQueue[bytes | str | BaseException | None] = queue.SimpleQueue()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._pump, _pieces(response)), name="sse_bridge-test-stream", daemon=True
        )
        self._thread.start()

    def next(self) -> ServerSentEvent:
        """The next event, control events (``stream.open`` …) too.

        Raises:
            BrokenStream: none came within `timeout`, the stream ended, or its bytes are malformed.
        """
        if not self._fill():
            raise self._over()
        return self._pending.popleft()

    def take(self, count: int) -> list[ServerSentEvent]:
        """The next `count` events."""
        return [self.next() for _ in range(count)]

    def rest(self) -> list[ServerSentEvent]:
        """The events up to the end of the stream, each within `timeout`."""
        found = []
        while self._fill():
            found.append(self._pending.popleft())
        return found

    def close(self) -> None:
        """Closes the response, as a server does when the client leaves; idempotent."""
        close = getattr(self._response, "close", None)
        if close is not None:
            close()
        self._thread.join(self.timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _fill(self) -> bool:
        until = time.monotonic() + self.timeout
        while not self._pending:
            try:
                piece = self._pieces.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise self._late() from None
            if isinstance(piece, BaseException):
                raise piece
            if piece is None:
                self._pieces.put(None)  # who asks again hears the same
                self.parser.finish()
                return False
            self._feed(piece)
        return True

    def _pump(self, pieces: Iterable[bytes | str]) -> None:
        try:
            for piece in pieces:
                self._pieces.put(piece)
        except BaseException as error:  # noqa: BLE001  # raised again by whoever reads
            self._pieces.put(error)
        self._pieces.put(None)


def aread_stream(response: Any, timeout: float = 5.0) -> AsyncStreamReader:
    """The twin of `read_stream`: for Django's ``AsyncClient``, httpx's async ``stream()``, or any async iterable."""
    return AsyncStreamReader(response, timeout)


class AsyncStreamReader(_Events):
    """The twin of `StreamReader`; made by `aread_stream` and `asgi_stream`. After a timeout it can read no more.

    Attributes:
        headers: of the response, as it has them.
    """

    def __init__(self, response: Any, timeout: float) -> None:
        super().__init__(response, timeout)
        self.headers: Mapping[str, str] = getattr(response, "headers", {})
        self._response = response
        pieces = response.aiter_bytes() if hasattr(response, "aiter_bytes") else response
        self._pieces: AsyncIterator[bytes | str] = pieces.__aiter__()

    async def next(self) -> ServerSentEvent:
        """The next event; see `StreamReader.next`."""
        if not await self._fill():
            raise self._over()
        return self._pending.popleft()

    async def take(self, count: int) -> list[ServerSentEvent]:
        """The next `count` events."""
        return [await self.next() for _ in range(count)]

    async def rest(self) -> list[ServerSentEvent]:
        """The events up to the end of the stream, each within `timeout`."""
        found = []
        while await self._fill():
            found.append(self._pending.popleft())
        return found

    async def aclose(self) -> None:
        """Closes the response; idempotent."""
        if hasattr(self._response, "aclose"):
            await self._response.aclose()
        elif hasattr(self._response, "close"):
            self._response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _fill(self) -> bool:
        until = time.monotonic() + self.timeout
        while not self._pending:
            try:
                piece = await asyncio.wait_for(self._pieces.__anext__(), max(0.0, until - time.monotonic()))
            except StopAsyncIteration:
                self.parser.finish()
                return False
            except asyncio.TimeoutError:
                raise self._late() from None
            self._feed(piece)
        return True


class _Response:
    """What an ASGI app sends, as it comes."""

    def __init__(self) -> None:
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

    At the end of the block the client is gone: the app is told, and must return within `timeout`. Its lifespan is not run.

    Args:
        path: with its query string, not yet quoted in any other way than in a URL.
        timeout: seconds for the response's head, for each event, and for the app's end.

    Raises:
        BrokenStream: the status is not 200, or the app did not answer or end in time.
    """
    response, gone, requested = _Response(), asyncio.Event(), False
    plain, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": unquote(plain), "raw_path": plain.encode(), "query_string": query.encode(),
        "root_path": "", "headers": [(b"host", b"testserver"), *_encoded(headers or {})], "client": ("127.0.0.1", 50000),
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
        except asyncio.TimeoutError:
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
            task.exception()  # it was raised to the reader already, or is below
    if late:
        raise BrokenStream(f"expected the app to return within {timeout} s after its client left {path!r}")
    if response.error is not None:
        raise response.error


def _encoded(headers: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in headers.items():
        yield name.lower().encode("latin-1"), value.encode("latin-1")


def _reason(response: Any) -> str:
    """What a refusal says, where it is there already: werkzeug's ``data``, Django's ``content``."""
    if hasattr(response, "iter_encoded"):
        return f" {response.data!r:.300}"
    if (
        hasattr(response, "content")
        and not hasattr(response, "iter_bytes")
        and not getattr(response, "streaming", False)
    ):
        return f" {response.content!r:.300}"
    return ""


def _pieces(response: Any) -> Iterable[bytes | str]:
    """The body of a response of any framework, piece by piece as the server would get it."""
    for name in ("iter_encoded", "iter_bytes"):  # werkzeug's, httpx's
        if hasattr(response, name):
            return getattr(response, name)()  # type: ignore[no-any-return]
    return response  # type: ignore[no-any-return]
