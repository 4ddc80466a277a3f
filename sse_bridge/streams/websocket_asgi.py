"""A WebSocket session into an ASGI server (spec 2.x, WebSocket): the twin of `asgi` for the other transport."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from .asgi import Message, Receive, Scope, Send
from .refusals import Refusal
from .response import Grant
from .websocket_messages import Subscribe
from .websocket_session import WebSocketSession

logger = logging.getLogger("sse_bridge.streams")


async def serve_session(
    session: WebSocketSession, first: Subscribe | None, grant: Grant | None, receive: Receive, send: Send
) -> None:
    """Runs an accepted connection to its end, and closes it; returns when that is done or the client is gone.

    One task is the session, one listens; whichever ends first ends the other, and both are over at the return. A client that
    takes nothing is given up a moment after the session's end is due, without a close: that would wait for it too.

    Args:
        session: made with a `send` that sends ``websocket.send`` messages.
        first: what the address asked for, and
        grant: what the authorize hook said to it.
    """
    writer = asyncio.ensure_future(session.run(first, grant))
    session.patience.give_up = writer.cancel
    listener = asyncio.ensure_future(_listen(session, receive))
    gone = False
    try:
        await asyncio.wait({writer, listener}, return_when=asyncio.FIRST_COMPLETED)
        gone = listener.done() or session.patience.lost
        if not gone:
            await _end(listener)  # granian sends no close while a receive is pending
            code = 1011 if writer.cancelled() or writer.exception() is not None else writer.result()
            await _send_quietly(send, {"type": "websocket.close", "code": code})
    finally:
        session.close()
        await _end(writer, listener)
        await session.last_cancels()
    error = None if writer.cancelled() else writer.exception()
    if error is not None and (gone or isinstance(error, OSError)):
        logger.debug("a WebSocket's client left during a send: %r", error)  # servers differ in what they raise then
    elif error is not None:
        raise error


async def refuse_websocket(refused: Refusal, scope: Scope, send: Send) -> None:
    """Ends a connection before its handshake: with the status where the server has the extension for it, else with 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await _send_quietly(send, {"type": "websocket.close", "code": 4000 + refused.status})
        return
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in refused.headers]
    start = {"type": "websocket.http.response.start", "status": refused.status, "headers": headers}
    await _send_quietly(send, start)
    await _send_quietly(send, {"type": "websocket.http.response.body", "body": refused.body, "more_body": False})


async def _listen(session: WebSocketSession, receive: Receive) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        text = message.get("text")
        session.received(message.get("bytes") or b"" if text is None else text)


async def _end(*tasks: asyncio.Future[Any]) -> None:
    running = {task for task in tasks if not task.done()}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


async def _send_quietly(send: Send, message: Message) -> None:
    try:
        await send(message)
    except OSError:
        return  # spec 2.4: the client is gone
