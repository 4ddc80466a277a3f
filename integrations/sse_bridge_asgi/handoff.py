"""The middleware's half of the hand-off (`sse_bridge.streams`, handoff): serves streams that views offer.

The inner app runs to its end with an open `Handoff` in its context; its answer passes through, without the hand-off's
header, unless head and body hold the nonce of an offer. Then only that answer's headers are kept, and the stream is
served once the inner app has returned, when the view's thread and database connection are free.

A source runs in the context in which the inner app answered, with the language, the time zone and the ContextVars that
the view and its middleware have set. Sync code that a source calls over asgiref gets a thread of its own, since the
view's ended with the request. (A stream of channels runs no code of the application, and keeps no context.) An offer
that the view did not return is closed when its answer begins, or when the inner app ends without one.
"""

from __future__ import annotations

import logging
from contextvars import Context, copy_context

from asgiref.sync import AsyncToSync, SyncToAsync

from sse_bridge.streams import (
    HANDOFF_HEADER,
    Handoff,
    StreamResponse,
    current_handoff,
    send_stream,
    set_handoff,
    with_headers,
)

from .threads import OwnThread
from .types import ASGIApp, Message, Receive, Scope, Send

_HEADER = HANDOFF_HEADER.lower().encode("ascii")

logger = logging.getLogger("sse_bridge.asgi")


async def serve_with_handoff(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serves one HTTP request by `app`, and by the stream that a view offers."""
    outer = current_handoff()
    handoff = Handoff()
    client = Client(receive)
    answer = _Answer(handoff, send, head_only=scope["method"] == "HEAD")
    thread: OwnThread | None = None
    set_handoff(handoff)
    try:
        await app(scope, client.receive, answer.send)
        if not client.gone and await answer.is_stream():
            thread = answer.enter_context()
            await send_stream(answer.pop(), receive, send, head_only=scope["method"] == "HEAD")
    finally:
        if thread is not None:
            thread.close()
        handoff.close()
        answer.close()
        set_handoff(outer)


class Client:
    """Remembers in `gone` that the client left, since the inner app may take the only disconnect message (Django does)."""

    __slots__ = ("_receive", "gone")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.gone = False

    async def receive(self) -> Message:
        if self.gone:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self.gone = message["type"] == "http.disconnect"
        return message


class _Answer:
    """The inner app's answer.

    A head with the nonce of an offer is held back until the inner app is over, and the body as long as it may be the
    nonce: middleware may have replaced the body of a view's answer and left its headers, and then it is sent as it is.
    """

    __slots__ = ("_context", "_handoff", "_head_only", "_held", "_nonce", "_send", "_stream")

    def __init__(self, handoff: Handoff, send: Send, *, head_only: bool) -> None:
        self._handoff = handoff
        self._send = send
        self._head_only = head_only
        self._stream: StreamResponse | None = None
        self._nonce: bytes | None = None  # the expected body; None: the body is encoded, and cannot be compared
        self._held: list[Message] = []
        self._context: Context | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = self._begin(message)
        if self._stream is None:
            await self._send(message)
        elif self._nonce is not None:
            self._held.append(message)
            if not self._nonce.startswith(self._body()):
                await self._release()

    async def is_stream(self) -> bool:
        """Whether a stream is to be served; call after the inner app has returned."""
        body = self._body()
        if self._stream is not None and self._nonce not in (None, body) and (body or not self._head_only):
            await self._release()
        return self._stream is not None

    def enter_context(self) -> OwnThread | None:
        """Makes the answer's context the current one, if the stream runs code of the application.

        Returns:
            The thread of the sync code that a source calls over asgiref; the caller must close it.
        """
        if self._context is None:
            return None
        _adopt(self._context)
        return OwnThread()

    def pop(self) -> StreamResponse:
        """Takes the stream, lest an idle connection keeps a second reference to it."""
        stream, self._stream = self._stream, None
        assert stream is not None
        self._held.clear()
        self._nonce = self._context = None
        return stream

    def close(self) -> None:
        """Closes a stream that was not served, at the request's end."""
        if self._stream is not None:
            self.pop().close()

    def _begin(self, message: Message) -> Message:
        """The head without the hand-off's header."""
        headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        nonces = [value for name, value in headers if name.lower() == _HEADER]
        headers = [(name, value) for name, value in headers if name.lower() != _HEADER]
        message = {**message, "headers": headers}
        status = message["status"]
        offered = self._handoff.take(status, [nonce.decode("latin-1") for nonce in nonces])
        if offered is not None:
            self._stream = with_headers(offered, headers)
            self._context = copy_context() if offered.runs_code else None  # idle streams need none
            encoded = any(name.lower() == b"content-encoding" and value != b"identity" for name, value in headers)
            self._nonce = None if encoded else nonces[0]
        elif nonces:
            logger.warning(
                "response with status %s names a stream that cannot be served and is sent unchanged; a stream needs status "
                "200 and a response made in this request, not one cached or copied",
                status,
            )
        return message

    def _body(self) -> bytes:
        """The part of the body that was held back; of a body that is a file, bytes that equal no nonce."""
        kinds = {"http.response.body", "http.response.trailers"}
        pieces = [message.get("body", b"") if message["type"] in kinds else b"\n" for message in self._held[1:]]
        return b"".join(pieces)

    async def _release(self) -> None:
        """Sends the held answer unchanged."""
        held = list(self._held)
        self.pop().close()
        logger.warning("response that names a stream is sent unchanged: middleware has replaced the view's body")
        for message in held:
            await self._send(message)


def _adopt(context: Context) -> None:
    """Sets the current context's variables to their values in `context`, except for asgiref's own.

    asgiref's refer to the thread that waited in `AsyncToSync` for the inner app, which is gone when the stream begins.
    """
    for variable, value in context.items():
        variable.set(value)
    AsyncToSync.executors.current = None
    SyncToAsync.deadlock_context.set(False)
