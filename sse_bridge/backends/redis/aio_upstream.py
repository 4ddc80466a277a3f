"""The live link for asyncio: one task per connection. The twin of threads_upstream.py.

Received bytes go from the transport to the link within one callback: a read from redis-py's StreamReader would cost a
future, another turn of the loop, a task switch and two copies, 10 µs each time the socket has data.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from ...errors import SSEBridgeError
from .aio import Connection
from .aio_daemon import LoopDaemon
from .connecting import LINK_ERRORS, permanent_error
from .link import PubSubLink

log = logging.getLogger("sse_bridge.redis")


class _Receiver(asyncio.Protocol):
    """Passes the bytes of a connection on until `ended` is done: the connection is over, or `receive` failed (`error`)."""

    def __init__(self, receive: Callable[[bytes], None], ended: asyncio.Future[None]) -> None:
        self._receive = receive
        self.ended = ended
        self.error: Exception | None = None

    def data_received(self, data: bytes) -> None:
        if self.ended.done():
            return
        try:
            self._receive(data)
        except Exception as error:  # noqa: BLE001  # the waiting task raises it
            self._end(error)

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.error = error
            self.ended.set_result(None)


class LinkRunner:
    """A task that keeps one connection alive and lets a `PubSubLink` speak on it: the upstream, where there is one
    server.

    Args:
        on_dropped: takes the channels that this server gave up, where there is another.
        on_failure: called after each attempt to connect that failed.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        link: PubSubLink,
        on_dropped: Callable[[list[str]], None] = lambda channels: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._link = link
        self._on_dropped = on_dropped
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._connection: Connection | None = None
        self._daemon = LoopDaemon(self._run, "sse_bridge-redis-upstream")
        self._timer: asyncio.TimerHandle | None = None
        self._watched_until = 0.0
        self._silence: TimeoutError | None = None

    def order(self, subscribe: bool, channels: Sequence[str]) -> None:
        """Subscribes or unsubscribes; never blocks."""
        if self._closed or not channels:
            return
        out = self._link.subscribe(channels) if subscribe else self._link.unsubscribe(channels)
        if out and self._connection is not None:
            self._connection.writer.write(out)
        self._daemon.start()

    def subscribe(self, channels: Sequence[str]) -> None:
        self.order(True, channels)

    def unsubscribe(self, channels: Sequence[str]) -> None:
        self.order(False, channels)

    def close(self) -> None:
        """Ends the task; the sink is not called any more."""
        self._closed = True
        self._daemon.close()
        if self._loop.is_closed():
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            self._connection.abort()

    async def _run(self) -> None:
        while not self._closed:
            fatal: SSEBridgeError | None = None
            try:
                connection = await self._connect()
            except LINK_ERRORS as error:
                why = f"no connection: {error}"
                fatal = permanent_error(error)
                self._on_failure()
            else:
                try:
                    await self._carry(connection)
                    why = "Redis closed the connection"
                except LINK_ERRORS as error:
                    why = str(error) or type(error).__name__
                except Exception as error:  # a bug must not leave the process without a live link
                    log.exception("live link failed unexpectedly; it reconnects")
                    why = repr(error)
            if self._closed:
                return
            await asyncio.sleep(self._link.lost(why, fatal))

    async def _carry(self, connection: Connection) -> None:
        """Lets the link speak on a connection until that ends, and aborts it; raises the reason, if one is known."""
        self._silence = None
        self._connection = connection
        try:
            receiver = _Receiver(self._received, self._loop.create_future())
            connection.hand_over(receiver)
            connection.writer.write(self._link.opened(time.monotonic()))
            self._watch()
            await receiver.ended
            trouble = self._silence or receiver.error
            if trouble is not None:
                raise trouble
        finally:
            self._connection = None
            connection.abort()
            if self._timer is not None:
                self._timer.cancel()

    def _received(self, data: bytes) -> None:
        if self._closed:
            return
        link = self._link
        link.received(data, time.monotonic())
        if not link.changed:
            return
        link.changed = False
        if link.dropped:
            dropped, link.dropped = link.dropped, []
            self._on_dropped(dropped)
        if link.retry_at < self._watched_until:
            self._watch()

    def _watch(self) -> None:
        """Checks for silence and for subscriptions to retry, now and again when the next one is due."""
        if self._closed or self._connection is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        now = time.monotonic()
        try:
            ping = self._link.tick(now)
        except TimeoutError as error:
            self._silence = error
            self._connection.abort()
            return
        if ping:
            self._connection.writer.write(ping)
        self._watched_until = self._link.tick_at()
        self._timer = self._loop.call_later(max(0.01, self._watched_until - now), self._watch)
