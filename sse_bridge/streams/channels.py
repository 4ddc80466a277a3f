"""Bodies that follow channels: one async iterator, one sync, over the same script.

States of both:

    new      nothing is held: a server may drop a body that it never started
    opening  entered the hub, waiting until every channel is subscribed and read
    open     frames leave as they come; a heartbeat after a while of silence
    over     everything is given back; by the end of the channels, the lifetime, a drain, a slow reader, or `close`

If the broker cannot be reached while opening, the body is one frame that says when to come back. What a body yields is
whole frames only, everything that is pending in one piece of up to `max_write_bytes`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from typing import TYPE_CHECKING, Final

from ..errors import BridgeClosed, NotAuthorized, SlowReader, SSEBridgeError
from ..follow.follower import Follower
from ..follow.wish import Wish
from ..wire import Format
from .host import Host
from .pacing import Due, Pacing, Why, retry_ms
from .refusals import REVOKED, too_many_streams
from .rendering import Renderer, payload, renderer
from .request import REPLACED_MARK
from .sockets import ServerWrite, SocketWriter

if TYPE_CHECKING:
    from ..hub.guards import Refused
    from ..hub.loop import LoopReader
    from ..hub.thread_reader import ThreadReader

OPENING_SECONDS: Final = 5.0  # then the client is told to come back; shorter than most proxies' patience

logger = logging.getLogger("sse_bridge.streams")


class ChannelScript:
    """What a body says, decided without I/O: both bodies ask it and only wait in between."""

    def __init__(
        self, bridge: Host, wish: Wish, format: Format, expires_at: float | None, user: str | None = None
    ) -> None:
        self.wish = wish
        self.bridge = bridge
        self.user = user
        self._settings = bridge.settings
        self.wire = format
        self._expires_at = expires_at
        self._pacing = Pacing(bridge.settings, 0.0)
        self._ends: list[tuple[float, Why]] = []

    def open(self, follower: Follower, now: float) -> bytes:
        """The first frame. Its id is where the client stands, never behind a gap that it was not told."""
        self._pacing = Pacing(self._settings, now, self._expires_at)
        if self.bridge.streams.draining:
            self._pacing.end_at(now)
        for when, why in self._ends:  # told before it was open
            self._pacing.end_at(when, why)
        return self.wire.control("stream.open", {}, id=follower.id() or None, retry_ms=retry_ms(self._settings))

    def refuse(self, reason: Refused = "unavailable") -> bytes:
        """The only frame of a stream that may not open, where its status has been said already."""
        return self.wire.retry(retry_ms(self._settings), reason)

    def refusal(self, reason: Refused) -> SSEBridgeError | None:
        """What such a stream is answered where the status can still be said; None: 200 and `refuse`."""
        if reason == "revoked":
            return NotAuthorized(REVOKED)
        return too_many_streams() if reason == "limit" and self._settings.over_limit == "reject" else None

    def pull(self, reader: LoopReader | ThreadReader, now: float) -> tuple[bytes, bool]:
        """What to write now (empty: nothing yet, wait until `next_due`), and whether the stream is over then."""
        follower = reader.follower
        due = self._pacing.due(now)
        if due is not None and due != "heartbeat":
            return self._last(due, follower), True
        try:
            data = b""
            while not data and (batch := reader.pull(self._settings.max_write_bytes)) is not None:
                data = payload(self.wire, batch)  # nothing, where the format cannot say it
        except SlowReader as error:
            logger.warning("ending the stream of a slow reader of %s: %s", self.wish.channels, error)
            return self.wire.retry(retry_ms(self._settings), "slow"), True
        if not data and due == "heartbeat" and (note := follower.tell_position()) is not None:
            data = payload(self.wire, note)
        if data:
            self._pacing.wrote(now)
            return data, False
        if follower.finished:
            return b"", True
        if due == "heartbeat":
            self._pacing.wrote(now)
            return self.wire.heartbeat(), False
        return b"", False

    def _last(self, due: Due, follower: Follower) -> bytes:
        """The frame that says why it is over. A client that was replaced comes back with its mark, and gets 204."""
        if due != "replaced":
            return self.wire.retry(retry_ms(self._settings), due)
        id = follower.id() + REPLACED_MARK.encode()
        return self.wire.control("stream.close", {"reason": due}, id=id, retry_ms=retry_ms(self._settings))

    def due(self, now: float, wrote_at: float) -> tuple[Due | None, bytes]:
        """What is due for a reader to whom the hub last wrote at `wrote_at`, and the heartbeat to write."""
        self._pacing.wrote_at_least(wrote_at)
        due = self._pacing.due(now)
        if due == "heartbeat":
            self._pacing.wrote(now)
        return due, self.wire.heartbeat()

    def is_due(self, now: float, wrote_at: float) -> bool:
        """Whether a reader to whom the hub last wrote at `wrote_at` has anything to say by itself."""
        self._pacing.wrote_at_least(wrote_at)
        return self._pacing.due(now) is not None

    def position(self, follower: Follower) -> bytes:
        """A frame that says where the reader stands."""
        return self.wire.position(follower.id())

    @property
    def rendering(self) -> Renderer:
        return renderer(self.wire)

    def next_due(self) -> float:
        return self._pacing.next()

    def given_up_at(self) -> float:
        """When a write that the client does not take is given up."""
        return self._pacing.given_up_at()

    def end_by(self, when: float, why: Why = "drain") -> None:
        self._ends.append((when, why))
        self._pacing.end_at(when, why)


class AsyncChannelBody:
    """An async iterator of bytes. One task iterates; `close` and `end_by` from any thread.

    A drain waits for it until the last frame was written: until it is asked for more, or closed.
    """

    def __init__(self, script: ChannelScript) -> None:
        self._script = script
        self._bridge = script.bridge
        self._reader: LoopReader | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = False

    def __aiter__(self) -> AsyncChannelBody:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            self.close()
            raise StopAsyncIteration
        try:
            data = await self._next()
        except BaseException:
            self.close()
            raise
        if not data:
            self.close()
            raise StopAsyncIteration
        return data

    async def _next(self) -> bytes:
        reader = self._reader
        first = b""
        if reader is None:
            self._loop = asyncio.get_running_loop()
            if self._bridge.streams.full:
                self._over = True
                return self._script.refuse("limit")
            try:
                hub = self._bridge.loop_hub()
                reader = self._reader = hub.enter(self._script.wish)
                hub.register(reader, self._script.user, self)
            except BridgeClosed:  # the process goes down, another one will answer
                self._over = True
                return self._script.refuse()
            weakref.finalize(self, reader.abandon).atexit = False  # the last net: nobody called `close`
            self._bridge.streams.add(self)
            refused = "unavailable" if not await self._opened(reader) else await hub.guard.admit(reader)
            if refused is not None:
                self._over = True
                return self._script.refuse(refused)
            first = self._script.open(reader.follower, time.monotonic())
        while not reader.closed:
            data, over = self._script.pull(reader, time.monotonic())
            if over:
                self._over = True
                reader.close()
            if first or data or over:
                return first + data
            await reader.wait(self._script.next_due())
        return first

    async def _opened(self, reader: LoopReader) -> bool:
        until = time.monotonic() + OPENING_SECONDS
        while not reader.ready():
            if reader.closed or time.monotonic() >= until:
                reader.close()
                return False
            await reader.wait(until)
        return True

    def end_by(self, when: float, why: Why = "drain") -> None:
        self._script.end_by(when, why)
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._end_at, when)

    def _end_at(self, when: float) -> None:
        assert self._loop is not None
        self._loop.call_later(max(0.0, when - time.monotonic()), self._look_again)  # to the moment: servers wait for it

    def _look_again(self) -> None:
        if self._reader is not None and not self._over:
            self._reader.wake()

    def close(self) -> None:
        """Gives everything back; idempotent. From another thread it is handed to the loop."""
        self._over = True
        self._bridge.streams.discard(self)
        reader, loop = self._reader, self._loop
        if reader is None or loop is None or reader.closed:
            return
        if asyncio._get_running_loop() is loop:
            reader.close()
        else:
            reader.abandon()

    async def aclose(self) -> None:
        self.close()


class SyncChannelBody:
    """A blocking iterator of bytes. One thread or greenlet iterates; `close` and `end_by` from any.

    A drain waits for it until the last frame was written: until it is asked for more, or closed.

    Where the server's socket can be written to, the hub does that while the client stands at the head of all channels
    (states as in `pushing`: alone, cohort), and the iterating thread sleeps in between.

    Args:
        server: what the server's start_response returned; None: it is not known.
    """

    def __init__(self, script: ChannelScript, server: ServerWrite | None = None) -> None:
        self._script = script
        self._bridge = script.bridge
        self._reader: ThreadReader | None = None
        self._server = server
        self._writer: SocketWriter | None = None
        self._yielded = 0
        self._over = False

    def __iter__(self) -> SyncChannelBody:
        return self

    def __next__(self) -> bytes:
        if self._over:
            self.close()
            raise StopIteration
        try:
            data = self._next()
        except BaseException:
            self.close()
            raise
        if not data:
            self.close()
            raise StopIteration
        self._yielded += len(data)
        return data

    def _next(self) -> bytes:
        reader = self._reader
        first = b""
        if reader is None:
            if self._bridge.streams.full:
                self._over = True
                return self._script.refuse("limit")
            try:
                hub = self._bridge.thread_hub()
                reader = self._reader = hub.enter(self._script.wish)
                hub.register(reader, self._script.user, self)
            except BridgeClosed:
                self._over = True
                return self._script.refuse()
            weakref.finalize(self, reader.abandon).atexit = False  # a server that forgets it may not call `close`
            self._bridge.streams.add(self)
            if self._over:  # closed from another thread meanwhile
                return b""
            refused = "unavailable" if not self._opened(reader) else hub.guard.admit(reader)
            if refused is not None:
                self._over = True
                return self._script.refuse(refused)
            first = self._script.open(reader.follower, time.monotonic())
        while not reader.closed:
            data, over = self._script.pull(reader, time.monotonic())
            if over:
                self._over = True
                reader.close()
            if first or data or over:
                return first + data
            self._wait(reader)
        return first

    def _wait(self, reader: ThreadReader) -> None:
        """Until there is something to pull or to say; the hub writes meanwhile, where it can."""
        if self._server is not None and self._yielded:
            self._writer = SocketWriter.of(self._server, self._yielded, reader.wake)
            self._server = None
        writer, follower = self._writer, reader.follower
        told = follower.id()
        # who has not been told of what was hidden from it stays alone until it has: a cohort knows its own only
        if writer is None or follower.hidden or not reader.gather(writer, self._script.rendering):
            reader.wait(self._script.next_due())
            return
        while not reader.alone(self._must_leave):  # not `closed`: the hub may be writing until it is in no cohort
            reader.wait(self._script.next_due())
        writer.complete()
        if reader.follower.id() == told:
            reader.follower.tell_position()  # the client has it

    def _must_leave(self, wrote_at: float) -> bool:
        return self._script.is_due(time.monotonic(), wrote_at)

    def _opened(self, reader: ThreadReader) -> bool:
        until = time.monotonic() + OPENING_SECONDS
        while not reader.ready():
            if reader.closed or time.monotonic() >= until:
                reader.close()
                return False
            reader.wait(until)
        return True

    def end_by(self, when: float, why: Why = "drain") -> None:
        self._script.end_by(when, why)
        reader = self._reader
        if reader is not None:
            reader.alarm(when)

    def close(self) -> None:
        """Gives everything back; idempotent."""
        self._over = True
        self._bridge.streams.discard(self)
        if self._reader is not None:
            self._reader.close()
