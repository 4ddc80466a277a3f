"""A streaming response, event by event, so that a test neither hangs nor guesses how many bytes to read."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from .parser import BrokenStream, ServerSentEvent, SSEParser


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
    """The base of both colours: bytes to events."""

    def __init__(self, response: Any, timeout: float) -> None:
        status = getattr(response, "status_code", 200)
        if status != 200:
            raise BrokenStream(f"expected a stream with status 200, got status {status}{_reason(response)}")
        self.parser = SSEParser(_sent_id(response))
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


class StreamReader(_Events, AbstractContextManager["StreamReader"]):
    """A response under way; made by `read_stream`. A context manager, which closes the response.

    Attributes:
        parser: ``parser.comments`` are the heartbeats so far, ``parser.last_event_id`` is the position to resume at.
    """

    def __init__(self, response: Any, timeout: float) -> None:
        super().__init__(response, timeout)
        self._response = response
        self._closing = False
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
        """Closes the response, as a server does when the client leaves; idempotent.

        Raises:
            BrokenStream: the body goes on for `timeout` nevertheless, and would hold a server's thread.
        """
        self._closing = True
        close = getattr(self._response, "close", None)
        if close is not None:
            try:
                close()
            except ValueError:  # a running generator cannot be closed; `_pump` leaves it behind its next piece
                if not self._thread.is_alive():
                    raise
        self._thread.join(self.timeout)
        if self._thread.is_alive():
            raise BrokenStream(f"expected the body to end with its response, but it still runs after {self.timeout} s")

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
                self._pieces.put(None)  # for further calls, which must find the end, too
                self.parser.finish()
                return False
            self._feed(piece)
        return True

    def _pump(self, pieces: Iterable[bytes | str]) -> None:
        try:
            for piece in pieces:
                self._pieces.put(piece)
                if self._closing:
                    break
        except BaseException as error:  # noqa: BLE001  # raised again by `_fill`
            self._pieces.put(error)
        self._pieces.put(None)


def aread_stream(response: Any, timeout: float = 5.0) -> AsyncStreamReader:
    """The twin of `read_stream`: for Django's ``AsyncClient``, httpx's async ``stream()``, or any async iterable."""
    return AsyncStreamReader(response, timeout)


class AsyncStreamReader(_Events, AbstractAsyncContextManager["AsyncStreamReader"]):
    """The twin of `StreamReader`; made by `aread_stream` and `asgi_stream`. After a timeout it can read no more.

    Attributes:
        headers: the response's.
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
            except TimeoutError:
                raise self._late() from None
            self._feed(piece)
        return True


def _sent_id(response: Any) -> str:
    """The client's Last-Event-ID, which is its last event id until a frame has another (HTML standard, 9.2.2)."""
    for name in ("request", "wsgi_request", "asgi_request"):  # werkzeug's and httpx's, Django's
        try:
            headers = getattr(getattr(response, name, None), "headers", None)
        except RuntimeError:  # an httpx response without a request
            continue
        if headers is not None:
            return next((value for key, value in headers.items() if key.lower() == "last-event-id"), "")
    return ""


def _reason(response: Any) -> str:
    """The body of a refusal, if it is read already: werkzeug's ``data``, Django's ``content``."""
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
