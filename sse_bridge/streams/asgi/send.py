"""A stream into an ASGI server (spec 2.x, HTTP): used by every adapter that speaks ASGI.

Servers report a gone client only through `receive`, sends stay silent. Streams of channels are pushed by the hub (see
`pushed`). For other bodies one task listens and one writes: the writer waits for the body and, by flow control, for the
client; the request's own task waits for either of the two. When the client is gone the request's task closes the body
and cancels the writer, which may be blocked in `send`; likewise for a client that takes nothing, a moment after the end
of a source's stream is due. A cancel of the request's task always comes from the server. The body is closed and both
tasks are over when `send_stream` returns.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from ...errors import SSEBridgeError
from ..channels.response import ChannelBodies
from ..http.refusals import Refusal, refusal
from ..http.request import StreamRequest, lower_headers
from ..http.response import AsyncBody, StreamResponse
from ..lifecycle.ending import IncompleteStream
from ..lifecycle.write_timeout import WriteTimeout
from ..sources.bodies import AsyncSourceBody
from ..writers.cutting import cut
from .pushed import PushedStream

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger = logging.getLogger("sse_bridge.streams")

# Headers of a view's own body, which do not hold for the stream; the last two belong to the server (RFC 9110, 7.6.1).
_OF_THE_BODY: Final = frozenset(
    {b"content-length", b"etag", b"content-encoding", b"last-modified", b"transfer-encoding", b"connection"}
)


def scope_request(scope: Scope) -> StreamRequest:
    """The request of an HTTP or WebSocket scope; raises `InvalidInput`."""
    return StreamRequest.from_http(lower_headers(scope["headers"]), scope["query_string"].decode("latin-1"))


async def send_stream(
    response: StreamResponse | Refusal, receive: Receive, send: Send, *, head_only: bool = False
) -> None:
    """Answers a request with a stream; returns when it is over or the client is gone.

    Args:
        response: the result of `stream_channels` or `stream_source`, or the refusal to answer instead.
        head_only: the method is HEAD: headers, no body.

    A body that is refused before its first piece is answered with its error's status.
    """
    if isinstance(response, Refusal):
        await send_refusal(response, send, head_only=head_only)
        return
    if response.otherwise is not None and not head_only:
        response = response.otherwise  # a pushed stream asks the log before it answers 204
    bodies, start = response.bodies, _start(response)
    if bodies is None or head_only:
        response.close()
        await send_quietly(send, start)
        await send_quietly(send, {"type": "http.response.body", "body": b"", "more_body": False})
        return
    if isinstance(bodies, ChannelBodies):
        own = None if _of_one(receive, send) else _OwnTask(receive)
        stream = PushedStream(bodies.script, start, receive if own is None else own.receive, send, bodies.coding)
        del response, bodies, start  # to keep an idle connection small, since there may be many
        try:
            instead = await stream.serve()
        finally:
            if own is not None:
                await own.close()
        if instead is not None:
            assert stream.start is not None
            await send_refusal(_readable(refusal(instead), stream.start), send)
        return
    await _send_body(bodies.async_body(), start, receive, send)


async def send_refusal(refused: Refusal, send: Send, *, head_only: bool = False) -> None:
    """Answers a request with a small body."""
    start = {"type": "http.response.start", "status": refused.status, "headers": encoded(refused.headers)}
    await send_quietly(send, start)
    body = b"" if head_only else refused.body
    await send_quietly(send, {"type": "http.response.body", "body": body, "more_body": False})


def with_headers(response: StreamResponse, headers: Iterable[tuple[bytes, bytes]]) -> StreamResponse:
    """The stream with the headers of the view that offered it, cookies included, except those of the view's body.

    The stream's own headers win; ``Vary`` is joined.
    """
    if response.otherwise is not None:
        headers = list(headers)
        response = dataclasses.replace(response, otherwise=with_headers(response.otherwise, headers))
    own = dict(response.headers)
    names = {name.lower() for name in own}
    vary = [value for name, value in own.items() if name.lower() == "vary"]
    kept: list[tuple[str, str]] = []
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if raw_name.lower() == b"vary":
            vary.append(value)
        elif raw_name.lower() not in _OF_THE_BODY and name.lower() not in names:
            kept.append((name, value))
    streams = [(name, value) for name, value in response.headers if name.lower() != "vary"]
    fields = dict.fromkeys(field.strip() for value in vary for field in value.split(",") if field.strip())
    joined = [("Vary", ", ".join(fields))] if fields else []
    return dataclasses.replace(response, headers=(*streams, *joined, *kept))


def _start(response: StreamResponse) -> Message:
    headers = encoded(response.headers)
    if response.bodies is not None and b"content-encoding" not in dict(headers):
        # Compressing middleware (Starlette's, for all but text/event-stream) would hold frames back to fill a block.
        headers.append((b"content-encoding", b"identity"))
    return {"type": "http.response.start", "status": response.status, "headers": headers}


def encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _of_one(receive: Receive, send: Send) -> bool:
    """Whether both are methods of one object: the server's own, without middleware around them."""
    owner = getattr(receive, "__self__", None)
    return owner is not None and owner is getattr(send, "__self__", None)


class _OwnTask:
    """`receive`, run in a task of its own.

    Middleware wraps `receive` (Starlette's BaseHTTPMiddleware in an anyio task group), and a task group belongs to the
    task that opened it: it can neither be interleaved with that of a wrapped `send`, nor be dropped half way.
    """

    __slots__ = ("_receive", "_task")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Future[Message] | None = None

    async def receive(self) -> Message:
        if self._task is None:
            self._task = asyncio.ensure_future(self._receive())
        message = await self._task
        self._task = None
        return message

    async def close(self) -> None:
        """Ends a ``receive`` under way."""
        if self._task is not None:
            await end_tasks(self._task)
            if not self._task.cancelled() and self._task.exception() is not None:
                logger.debug("receive failed after the stream: %r", self._task.exception())


def _readable(refused: Refusal, start: Message) -> Refusal:
    """The refusal with the CORS headers of the stream's own head, so that the page may read the reason."""
    kept = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in start["headers"]
        if name == b"vary" or name.startswith(b"access-control-")
    ]
    return dataclasses.replace(refused, headers=(*refused.headers, *kept))


async def _send_body(body: AsyncBody, start: Message, receive: Receive, send: Send) -> None:
    """Sends a body that is not pushed; apart, since each pushed connection holds the local names of `send_stream`."""
    write_timeout = WriteTimeout(send)
    if isinstance(body, AsyncSourceBody):
        body.answers = True
        body.on_end = write_timeout.until
    writer = asyncio.ensure_future(_write(body, start, write_timeout.send))
    write_timeout.give_up = writer.cancel
    listener = asyncio.ensure_future(_listen(receive))
    try:
        await asyncio.wait({writer, listener}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        body.close()
        await end_tasks(writer, listener)
        write_timeout.close()
    for task in (writer, listener):
        error = None if task.cancelled() else task.exception()
        if isinstance(error, IncompleteStream) and not await cut(send, receive):
            raise error
        if error is not None and not isinstance(error, OSError):  # spec 2.4: OSError says that the client is gone
            raise error


async def _write(body: AsyncBody, start: Message, send: Send) -> None:
    """Writes a body; the head leaves with the first piece, so that a server sends both in one packet."""
    started = False
    try:
        async for piece in body:
            if not started:
                started = True
                await send(start)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except SSEBridgeError as error:
        if started:
            raise
        await send_refusal(_readable(refusal(error), start), send)
        return
    if not started:
        await send(start)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _listen(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue  # the request's body, which a stream has no use for


async def end_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancels the tasks that still run and waits until they are over."""
    running = {task for task in tasks if not task.done()}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


async def send_quietly(send: Send, message: Message) -> None:
    try:
        await send(message)
    except OSError:
        return  # spec 2.4: the client is gone
