"""The live link for asyncio: one task per connection. The twin of threads_upstream.py.

What arrives goes from the transport to the link within the same callback. redis-py connects by streams, and a read from
one costs a future, another turn of the loop, a task switch and two copies: 10 µs, as often as the socket has something.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from .aio import Client, Wire
from .calls import backoff
from .connecting import LINK_ERRORS
from .link import Link
from .threads_upstream import LONGEST_PAUSE, STRAY_PAUSE

log = logging.getLogger("sse_bridge.redis")


class _Ear(asyncio.Protocol):
    """Hears one connection until it ends.

    Args:
        hear: called with what arrives.

    Attributes:
        deaf: done when the connection has ended, or `hear` has failed.
        error: why, if anybody knows.
    """

    def __init__(self, hear: Callable[[bytes], None], deaf: asyncio.Future[None]) -> None:
        self._hear = hear
        self.deaf = deaf
        self.error: Exception | None = None

    def data_received(self, data: bytes) -> None:
        if self.deaf.done():
            return
        try:
            self._hear(data)
        except Exception as error:  # noqa: BLE001  # raised by the task that waits
            self._end(error)

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        if not self.deaf.done():
            self.error = error
            self.deaf.set_result(None)


class Line:
    """A task that keeps one connection alive and lets a `Link` speak on it.

    Args:
        connect: makes a connection; may raise.
        link: the conversation.
        on_strays: who decides about channels that this server gave up; None: ask again here.
        on_failure: called after each attempt to connect that failed.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Wire]],
        link: Link,
        on_strays: Callable[[list[str]], None] | None = None,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        self._connect = connect
        self._link = link
        self._on_strays = on_strays
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._wire: Wire | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silence: TimeoutError | None = None

    @property
    def channels(self) -> list[str]:
        return list(self._link.wanted.values())

    def order(self, subscribe: bool, channels: Sequence[str]) -> None:
        """Subscribes or unsubscribes; never blocks."""
        if self._closed or not channels:
            return
        out = self._link.subscribe(channels) if subscribe else self._link.unsubscribe(channels)
        if out and self._wire is not None:
            self._wire.writer.write(out)
        if self._task is None:
            self._task = self._loop.create_task(self._run(), name="sse_bridge-redis-upstream")

    def close(self) -> None:
        """Ends the task; the sink is not called again."""
        self._closed = True
        if self._loop.is_closed():
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._wire is not None:
            self._wire.abort()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        attempt = 0
        while not self._closed:
            try:
                wire = await self._connect()
            except LINK_ERRORS as error:
                why = f"no connection: {error}"
                if self._on_failure is not None:
                    self._on_failure()
            else:
                self._wire = wire
                try:
                    await self._carry(wire)
                    why = "Redis closed the connection"
                except LINK_ERRORS as error:
                    why = str(error) or type(error).__name__
                except Exception as error:  # a bug must not end the link for the rest of the process
                    log.exception("the live link failed; it begins anew")
                    why = repr(error)
                finally:
                    self._wire = None
                    wire.abort()
                    if self._timer is not None:
                        self._timer.cancel()
                if self._link.fruitful:
                    attempt = 0
            if self._closed:
                return
            if attempt == 0:
                log.warning("live link lost: %s", why)
            attempt += 1
            self._link.lost(why)
            await asyncio.sleep(backoff(attempt, LONGEST_PAUSE))

    async def _carry(self, wire: Wire) -> None:
        self._silence = None
        ear = _Ear(self._heard, self._loop.create_future())
        wire.hand_over(ear)
        wire.writer.write(self._link.opened(time.monotonic()))
        self._watch()
        await ear.deaf
        trouble = self._silence or ear.error
        if trouble is not None:
            raise trouble

    def _heard(self, data: bytes) -> None:
        if self._closed:
            return
        link = self._link
        link.received(data, time.monotonic())
        if link.strays:
            strays, link.strays = link.strays, []
            if self._on_strays is not None:
                self._on_strays(strays)
            else:
                self._loop.call_later(STRAY_PAUSE, self._ask_again, strays)

    def _ask_again(self, strays: list[str]) -> None:
        self.order(True, [channel for channel in strays if channel in self._link.wanted.values()])

    def _watch(self) -> None:
        """Looks for silence now, and again when it may have lasted long enough."""
        if self._closed or self._wire is None:
            return
        now = time.monotonic()
        try:
            ping = self._link.due(now)
        except TimeoutError as error:
            self._silence = error
            self._wire.abort()
            return
        if ping:
            self._wire.writer.write(ping)
        self._timer = self._loop.call_later(max(0.01, self._link.due_at() - now), self._watch)


class SingleUpstream:
    """The link to one server, or to whichever the Sentinels call primary.

    Args:
        client: for its way to connect.
        link: the conversation.
    """

    def __init__(self, client: Client, link: Link) -> None:
        self._line = Line(client.connect_primary, link)

    def subscribe(self, channels: Sequence[str]) -> None:
        self._line.order(True, channels)

    def unsubscribe(self, channels: Sequence[str]) -> None:
        self._line.order(False, channels)

    def close(self) -> None:
        self._line.close()
