"""A user's iterable over a WebSocket: the same source that streams over HTTP, one JSON envelope per message.

The server sends ``stream.open``, the items, and ``stream.end``, and closes with 1000; a failed source sends
``stream.error`` before its ``stream.end``, and the code is 4500. An early end sends ``stream.close`` and closes with
`close_code`. A client may send ``{"type": "ping"}``, and ``{"type": "cancel"}``, which stops the source; all else is
answered by ``stream.error``. The limits of a WebSocket's client hold here, too.

One task draws frames from the body and sends them, so that a client that reads nothing holds up its own source only;
one listens. Each may send, one at a time. A client that leaves closes the source.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from ...admission.grants import Grant
from ...errors import InvalidInput, SSEBridgeError
from ...filters import Filter
from ...wire import WEBSOCKET_FORMAT
from ..http.refusals import refusal
from ..http.request import StreamRequest, lower_headers
from ..lifecycle.bridge_protocol import BridgeProtocol
from ..lifecycle.ending import CLOSE_DONE, LAST_WRITE_SECONDS, close_code
from ..lifecycle.write_timeout import WriteTimeout
from ..sources.bodies import AsyncSourceBody, Source, SourceBodies, stream_source
from ..sources.items import END_ID
from ..sources.iterables import discard
from ..websockets.messages import Cancel, Ping, Rejected, error_frame
from ..websockets.origin import check_origin
from ..websockets.protocol import WebSocketScript
from .send import Receive, Scope, Send, end_tasks, send_quietly
from .websocket import accept, cancel, refuse_websocket, say_shortly

FAILED: Final = 4500

logger = logging.getLogger("sse_bridge.streams")


class WebSocketSource:
    """One connection, made before its handshake, so that a refusal can be answered with a status.

    The arguments, and the errors but `NotAcceptable`, are those of `stream_source`; a restart is known from the address's
    ``?after=``, and the source begins when the connection is served.
    """

    def __init__(
        self,
        bridge: BridgeProtocol,
        source: Source,
        request: StreamRequest,
        *,
        filter: Filter | None = None,
        grant: Grant | None = None,
        restart: bool = True,
    ) -> None:
        self._response = stream_source(
            bridge, source, request, format=WEBSOCKET_FORMAT, filter=filter, grant=grant, restart=restart
        )
        self._rules = WebSocketScript(bridge, time.monotonic(), fixed=True)
        self._lock = asyncio.Lock()
        self._served = False

    def close(self) -> None:
        """Closes the source of a connection that was not served; idempotent."""
        if not self._served:
            self._response.close()

    async def serve(self, receive: Receive, send: Send) -> None:
        """Runs an accepted connection; returns when it is closed or the client is gone, and the source is stopped."""
        self._served = True
        bodies = self._response.bodies
        if not isinstance(bodies, SourceBodies):  # the client has seen the end
            await say_shortly(send, [_end("completed")], CLOSE_DONE)
            return

        async def send_text(frame: bytes) -> None:
            await send({"type": "websocket.send", "text": frame.decode()})

        write_timeout = WriteTimeout(send_text)
        body = bodies.async_body()
        body.on_end = write_timeout.until
        writer = asyncio.ensure_future(self._write(body, write_timeout))
        listener = asyncio.ensure_future(self._listen(receive, write_timeout))
        write_timeout.give_up = partial(cancel, writer, listener)
        try:
            await asyncio.wait({writer, listener}, return_when=asyncio.FIRST_COMPLETED)
            if write_timeout.lost:
                return
            if listener.done():
                last = listener.result()
                if last is not None:
                    if write_timeout.sending:
                        await asyncio.wait({writer}, timeout=LAST_WRITE_SECONDS)
                    frames = [] if write_timeout.sending else [last[0]]
                    await end_tasks(writer)
                    await say_shortly(send, frames, last[1])
                return
            await end_tasks(listener)  # granian sends no close while a receive is pending
            await send_quietly(send, {"type": "websocket.close", "code": _code(writer, bodies.script.outcome)})
        finally:
            body.close()
            await end_tasks(writer, listener)
            write_timeout.close()
            _look(writer, listener)

    async def _write(self, body: AsyncSourceBody, write_timeout: WriteTimeout) -> None:
        async for frame in body:
            async with self._lock:
                await write_timeout.send(frame)

    async def _listen(self, receive: Receive, write_timeout: WriteTimeout) -> tuple[bytes, int] | None:
        """The last message and the close code with which the connection ends; None: the client left."""
        while (message := await receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            command = self._rules.received(message.get("bytes") or b"" if text is None else text, time.monotonic())
            if isinstance(command, Cancel):
                return _end("cancelled"), CLOSE_DONE
            if isinstance(command, Ping):
                answer = self._rules.pong()
            elif isinstance(command, Rejected):
                if command.close_code is not None:
                    return command.frame, command.close_code
                answer = command.frame
            else:
                answer = error_frame(400, "a source listens to ping and cancel only", command)
            async with self._lock:
                await write_timeout.send(answer)
        return None


async def serve_source(
    bridge: BridgeProtocol,
    source: Source,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    origins: str | Iterable[str] = (),
    filter: Filter | None = None,
    grant: Grant | None = None,
    restart: bool = True,
    connected: bool = False,
    accepted: bool = False,
) -> None:
    """One connection from its handshake to its end; safe to cancel. The source is closed in any case.

    Args:
        origins: the other ones whose pages may connect, as for `check_origin`.
        connected: ``websocket.connect`` was received.
        accepted: the application has done the handshake and allowed the connection.
        filter, grant, restart: as for `stream_source`.

    Raises:
        InvalidInput: the source is no iterable of items.
    """
    try:
        if not (accepted or connected) and (await receive())["type"] != "websocket.connect":
            discard(source)
            return
        try:
            headers = lower_headers(scope["headers"])
            if not accepted:
                check_origin(headers, origins)
            request = StreamRequest.from_http(headers, scope["query_string"].decode("latin-1"))
        except SSEBridgeError as error:
            discard(source)
            await _refuse(bridge, error, scope, send, accepted)
            return
        stream = WebSocketSource(bridge, source, request, filter=filter, grant=grant, restart=restart)
    except InvalidInput:  # the application's mistake, not the client's
        raise
    except SSEBridgeError as error:
        await _refuse(bridge, error, scope, send, accepted)
        return
    try:
        if not accepted:
            await accept(scope, send)
        await stream.serve(receive, send)
    except OSError:
        return  # spec 2.4: the client is gone
    finally:
        stream.close()


async def _refuse(bridge: BridgeProtocol, error: SSEBridgeError, scope: Scope, send: Send, accepted: bool) -> None:
    refused = refusal(error, debug=bridge.settings.debug)
    if accepted:
        await send_quietly(send, {"type": "websocket.close", "code": 4000 + refused.status})
    else:
        await refuse_websocket(refused, scope, send)


def _end(reason: str) -> bytes:
    return WEBSOCKET_FORMAT.control("stream.end", {"channel": None, "reason": reason}, id=END_ID)


def _code(writer: asyncio.Future[None], outcome: str) -> int:
    if writer.cancelled() or writer.exception() is not None:
        return 1011
    return {"completed": CLOSE_DONE, "error": FAILED}.get(outcome) or close_code(outcome)


def _look(*tasks: asyncio.Future[Any]) -> None:
    """Logs errors of the tasks: servers differ in the errors that `send` raises when the client left."""
    for task in tasks:
        if not task.cancelled() and task.exception() is not None:
            logger.debug("a WebSocket of a source ended by an error: %r", task.exception())
