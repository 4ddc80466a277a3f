"""A WebSocket session into an ASGI server (spec 2.x, WebSocket): the twin of `send` for the other transport."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any, Final

from ...admission.grants import Grant
from ..http.refusals import Refusal
from ..lifecycle.ending import LAST_WRITE_SECONDS
from ..websockets.messages import Subscribe
from ..websockets.protocol import SUBPROTOCOL
from ..websockets.session import WebSocketSession
from .send import Receive, Scope, Send, encoded, end_tasks, send_quietly

LAST_MESSAGES: Final = 4096  # more than a server has parsed already from one read of the socket

logger = logging.getLogger("sse_bridge.streams")


async def accept(scope: Scope, send: Send) -> None:
    """Ends the handshake; raises the server's OSError if the client is gone (spec 2.4)."""
    offered = SUBPROTOCOL in (scope.get("subprotocols") or ())
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if offered else None})


async def serve_session(
    session: WebSocketSession, first: Subscribe | None, grant: Grant | None, scope: Scope, receive: Receive, send: Send
) -> None:
    """Accepts a connection, runs it to its end, and closes it; returns when that is done or the client is gone.

    One task is the session, one listens; the first to end ends the other, and both are over at the return. A client
    that takes nothing is given up a moment after the session's end is due, without a close, which would wait as well.
    A client that broke a rule is not listened to any more, and gets its close code within a second.
    A session whose hook does not return is closed without it; the return waits for a sync hook's thread.

    Args:
        session: made with a `send` that sends ``websocket.send`` messages.
        first: the subscription that the address asks for.
        grant: the authorize hook's grant for `first`.
    """
    try:
        await accept(scope, send)
    except OSError:
        return
    writer = asyncio.ensure_future(session.run(first, grant))
    listener = asyncio.ensure_future(_listen(session, receive))
    session.write_timeout.give_up = partial(cancel, writer, listener)
    gone = False
    try:
        await asyncio.wait({writer, listener}, return_when=asyncio.FIRST_COMPLETED)
        if session.breach is not None:
            await asyncio.wait({writer}, timeout=LAST_WRITE_SECONDS)
            if not writer.done():
                session.write_timeout.end()
        write_timeout = session.write_timeout
        gone = session.breach is None and (write_timeout.lost or (listener.done() and not write_timeout.gave_up))
        if not gone:
            await end_tasks(listener)  # granian sends no close while a receive is pending
            if session.breach is None:
                await _close(session, writer, send)
            else:
                await _close_in_time(session, writer, receive, send)
    finally:
        session.close()
        await end_tasks(writer, listener)
        await session.last_cancels()
    error = None if writer.cancelled() else writer.exception()
    if error is not None and (gone or isinstance(error, OSError)):
        logger.debug("a WebSocket's client left during a send: %r", error)  # servers differ in what they raise then
    elif error is not None:
        raise error


async def refuse_websocket(refused: Refusal, scope: Scope, send: Send) -> None:
    """Ends a connection before its handshake: with the status where the server has the extension for it, else with 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send_quietly(send, {"type": "websocket.close", "code": 4000 + refused.status})
        return
    start = {"type": "websocket.http.response.start", "status": refused.status, "headers": encoded(refused.headers)}
    await send_quietly(send, start)
    await send_quietly(send, {"type": "websocket.http.response.body", "body": refused.body, "more_body": False})


async def _close(session: WebSocketSession, writer: asyncio.Future[int], send: Send) -> None:
    """Sends the close, behind the last messages of a session that was given up, which have a second then."""
    if not session.write_timeout.gave_up:
        code = 1011 if writer.cancelled() or writer.exception() is not None else writer.result()
        await send_quietly(send, {"type": "websocket.close", "code": code})
        return
    frames, code = session.last_words()
    if session.write_timeout.lost:
        frames = []  # messages would wait for the client, too
        await asyncio.wait({writer}, timeout=LAST_WRITE_SECONDS)  # never two sends at a time
    await say_shortly(send, frames, code)


async def _close_in_time(session: WebSocketSession, writer: asyncio.Future[int], receive: Receive, send: Send) -> None:
    """Sends the close, and ends a server's wait for the answer, which comes behind all that a flooding client has sent."""
    closing = asyncio.ensure_future(_close(session, writer, send))
    try:
        await asyncio.wait({closing}, timeout=LAST_WRITE_SECONDS)
        session.close()  # the client's place is free meanwhile
        await _hear_out(receive)
        await asyncio.wait({closing}, timeout=LAST_WRITE_SECONDS)
    finally:
        await end_tasks(closing)
    if not closing.cancelled():
        closing.result()


async def say_shortly(send: Send, frames: list[bytes], code: int) -> None:
    """Sends last messages and the close within a second, since the client may take nothing."""
    saying = asyncio.ensure_future(_say(send, frames, code))
    await asyncio.wait({saying}, timeout=LAST_WRITE_SECONDS)
    await end_tasks(saying)
    if not saying.cancelled() and saying.exception() is not None:
        logger.debug("a WebSocket that was given up could not be closed in order: %r", saying.exception())


async def _say(send: Send, frames: list[bytes], code: int) -> None:
    for frame in frames:
        await send({"type": "websocket.send", "text": frame.decode()})
    await send({"type": "websocket.close", "code": code})


def cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()


async def _listen(session: WebSocketSession, receive: Receive) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        text = message.get("text")
        if not session.received(message.get("bytes") or b"" if text is None else text):
            return


async def _hear_out(receive: Receive) -> None:
    """Drops messages that the client sent before it knew of the close, for a second at most.

    hypercorn and uvicorn with websockets' older protocol read the client's answer to the close only behind those, and
    keep the connection open until then; the second one's close waits for it, by itself up to 20 s.
    """

    async def drop() -> None:
        for _ in range(LAST_MESSAGES):
            if (await receive())["type"] == "websocket.disconnect":
                return

    hearing = asyncio.ensure_future(drop())
    try:
        await asyncio.wait({hearing}, timeout=LAST_WRITE_SECONDS)
    finally:
        await end_tasks(hearing)
    if not hearing.cancelled() and hearing.exception() is not None:
        logger.debug("a server handed nothing on behind a WebSocket's close: %r", hearing.exception())
