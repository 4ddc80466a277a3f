"""The middleware's half of the hand-off (`sse_bridge.streams`, handoff): a view offers a stream, and it is served here.

In order: the inner app runs to its end with an open `Handoff` in its context; what it answers passes through, without
the hand-off's header, unless it is the nonce with status 200; then that answer is swallowed but for its headers, and the
stream is served once the inner app has returned, when the view's thread and database connection are free.
"""

from __future__ import annotations

from sse_bridge.streams import (
    HANDOFF_HEADER,
    Handoff,
    StreamResponse,
    current_handoff,
    send_stream,
    set_handoff,
    with_headers,
)

from .types import ASGIApp, Message, Receive, Scope, Send

_HEADER = HANDOFF_HEADER.lower().encode("ascii")


async def serve_with_handoff(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """One HTTP request through `app`, and through the stream that it may offer."""
    outer = current_handoff()
    handoff = Handoff()
    client = _Client(receive)
    answer = _Answer(handoff, send)
    set_handoff(handoff)
    try:
        await app(scope, client.receive, answer.send)
        if answer.taken is not None and not client.gone:
            await send_stream(answer.pop(), receive, send, head_only=scope["method"] == "HEAD")
    finally:
        handoff.close()
        set_handoff(outer)


class _Client:
    """Remembers that the client left: the inner app may have taken the only message that says so (Django does).

    Attributes:
        gone: it did.
    """

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
    """What the inner app sends.

    Attributes:
        taken: the stream to serve, with the answer's headers; None: the answer passed through.
    """

    def __init__(self, handoff: Handoff, send: Send) -> None:
        self.taken: StreamResponse | None = None
        self._handoff = handoff
        self._send = send

    def pop(self) -> StreamResponse:
        """The stream, which is not kept here: an idle connection would hold it, and there may be many."""
        stream, self.taken = self.taken, None
        assert stream is not None
        return stream

    async def send(self, message: Message) -> None:
        if self.taken is not None:
            return  # the nonce, which was the body
        if message["type"] != "http.response.start":
            await self._send(message)
            return
        nonces = []
        headers = []
        for name, value in message.get("headers", ()):
            if bytes(name).lower() == _HEADER:
                nonces.append(bytes(value).decode("latin-1"))
            else:
                headers.append((name, value))
        offered = self._handoff.take(message["status"], nonces[0] if len(nonces) == 1 else None)
        if offered is None:
            await self._send({**message, "headers": headers})
        else:
            self.taken = with_headers(offered, headers)
