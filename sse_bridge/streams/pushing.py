"""A channel stream into an ASGI server, pushed by the hub: the request's task sleeps while events pass.

    opening   the task waits until every channel is subscribed and read
    alone     the task writes: it catches up, or the client takes its bytes slowly
    cohort    the hub writes, once per pass for all readers in the same place; the task waits for the client to leave
    over      everything is given back

A write that suspends (flow control) ends the hub's part at once: the task finishes exactly that one, catches up from the
position behind it, and joins again when it stands at the head. After three such writes in a row the reader stays alone
until it has taken as many without suspending. A gone client is noticed in every state, since the task listens in all.
One that takes nothing any more gets no last frame either: its write is given up a moment after the stream's end is due.
A server that cancels the request lets the last frame out if it leaves without waiting: hypercorn's workers are told to go
by no signal, and a cancelled request is the first that we hear of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError, SSEBridgeError
from .channels import OPENING_SECONDS, ChannelScript
from .compression import Coding
from .direct import DirectWriter
from .pacing import LAST_WRITE_SECONDS, Why
from .stepping import Listening, Message, Stepper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..hub.guards import Refused
    from ..hub.loop import LoopReader

_SUSPENSIONS: Final = 3

logger = logging.getLogger("sse_bridge.streams")


class _Gone(Exception):
    """The client left, or takes nothing any more."""


class PushedStream:
    """One response. Made and served in the request's task; `end_by` from any thread.

    Args:
        start: the ``http.response.start`` message, which leaves together with the first frame.
        coding: what every write passes through, in whose name the start says so; None: as it is.
    """

    __slots__ = (
        "__weakref__", "_coding", "_direct", "_hub", "_listening", "_loop", "_over", "_reader", "_script", "_start",
        "_stepper", "_suspensions", "_told",
    )  # fmt: skip

    def __init__(
        self,
        script: ChannelScript,
        start: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        coding: Coding | None = None,
    ) -> None:
        self._script = script
        self._coding = coding
        self._start: Message | None = start
        self._loop = asyncio.get_running_loop()
        self._stepper = Stepper(send)
        self._direct: DirectWriter | None = None
        self._listening = Listening(receive)
        self._hub = script.bridge.loop_hub()
        self._reader: LoopReader | None = None
        self._over = False
        self._suspensions = 0
        self._told: bytes | None = None  # in a cohort: where the client stood at the last heartbeat; None: it lags

    async def serve(self) -> SSEBridgeError | None:
        """Streams until the end or until the client leaves; raises what `send` raises, except that the client left.

        Returns:
            What the client is to be answered instead, if nothing was sent.
        """
        streams = self._script.bridge.streams
        try:
            if streams.full:
                return await self._turned_away("limit")
            reader = self._reader = self._hub.enter(self._script.wish)
            reader.on_wake = self._woken
            self._hub.register(reader, self._script.user, self)
            streams.add(self)
            try:
                reason = await self._opened(reader)
            except ConfigurationError as error:  # the broker cannot keep what the settings ask for
                return error
            if reason is not None:
                return await self._turned_away(reason)
            await self._write(self._script.open(reader.follower, time.monotonic()))
            self._direct = DirectWriter.of(self._stepper.send)
            while not self._over and not reader.closed:
                await self._catch_up(reader)
                if not self._over:
                    self._hear(await self._listening.next())
            await self._finish()
        except (_Gone, OSError):  # spec 2.4: OSError says the same
            pass
        except asyncio.CancelledError:
            self._take_leave()
            raise
        finally:
            self._over = True
            streams.discard(self)
            if self._reader is not None:
                self._reader.close()
                self._reader.on_wake = None  # it would keep this in a cycle, for the garbage collector to find
                self._hub.alarms.disarm(self._reader)  # armed again by that wake, if a write was pending
            self._stepper.abandon()
            self._listening.close()
        return None

    async def _turned_away(self, reason: Refused) -> SSEBridgeError | None:
        refused = self._script.refusal(reason)
        if refused is None:
            await self._write(self._script.refuse(reason))
            await self._finish()
        return refused

    async def _finish(self) -> None:
        last = b"" if self._coding is None else self._coding.end()
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    def _take_leave(self) -> None:
        """Says when to come back, if that fits between two frames and leaves at once: a cancelled task waits for nothing."""
        reader = self._reader
        if reader is None or reader.closed or self._over or self._start is not None or self._stepper.busy:
            return
        if reader.cohort is not None:
            reader.cohort.drop(reader, goes_on=True)
        now = time.monotonic()
        self._script.end_by(now)
        data, _ = self._script.pull(reader, now)
        if self._coding is not None:
            data = self._coding.encode(data) + self._coding.end()
        # more_body is False in a message of its own: servers send a piece at once, and wait for some things at the end
        if self._stepper.step({"type": "http.response.body", "body": data, "more_body": True}):
            self._stepper.step({"type": "http.response.body", "body": b"", "more_body": False})

    def end_by(self, when: float, why: Why = "drain") -> None:
        """End at `when` at the latest; thread-safe."""
        self._script.end_by(when, why)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end_at, when)

    # called by the hub

    def push(self, data: bytes) -> bool:
        if self._coding is not None:
            data = self._coding.encode(data)
        if self._direct is not None and self._direct.write(data):
            return True
        if self._stepper.step({"type": "http.response.body", "body": data, "more_body": True}):
            return True
        self._suspensions += 1
        self._listening.wake()
        return False

    def finish(self) -> None:
        self._over = True
        self._listening.wake()

    def _woken(self) -> None:
        """An alarm, or (alone) something to pull."""
        reader = self._reader
        if reader is None or reader.cohort is None:
            if reader is not None and self._stepper.busy:
                if time.monotonic() >= self._script.given_up_at():
                    self._stepper.interrupt()
                else:
                    self._hub.alarms.arm(reader, self._script.given_up_at())
            self._listening.wake()
            return
        now = time.monotonic()
        due, told = self._script.due(now, reader.cohort.wrote_at)
        if due == "heartbeat":
            follower = reader.cohort.follower
            at = follower.id()
            if at != self._told and (follower.hidden or self._told is None):
                told = self._script.position(follower)
            self._told = at
            if self.push(told):
                due = None
        if due is None:
            self._hub.alarms.arm(reader, self._script.next_due())
        else:
            reader.cohort.drop(reader, goes_on=True)
            self._listening.wake()

    # in the request's task

    async def _opened(self, reader: LoopReader) -> Refused | None:
        until = time.monotonic() + OPENING_SECONDS
        while not reader.ready():
            if reader.closed or time.monotonic() >= until:
                return "unavailable"
            self._hub.alarms.arm(reader, until)
            self._hear(await self._listening.next())
        return await self._hub.guard.admit(reader)

    async def _catch_up(self, reader: LoopReader) -> None:
        """Writes what is there, and then joins a cohort or waits for the next wake alone."""
        await self._finished()
        while not self._over and reader.cohort is None:
            data, self._over = self._script.pull(reader, time.monotonic())
            if data:
                await self._write(data)
            elif not self._over:
                self._hub.alarms.arm(reader, self._script.next_due())
                self._told = None if reader.follower.hidden else reader.follower.id()
                if self._suspensions < _SUSPENSIONS:
                    self._hub.gather(reader, self, self._script.rendering)
                return

    async def _write(self, data: bytes) -> None:
        start, self._start = self._start, None
        if start is not None:
            await self._send(start)
        if self._coding is not None:
            data = self._coding.encode(data)
        suspended = await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._suspensions = self._suspensions if suspended else max(0, self._suspensions - 1)

    async def _send(self, message: Message) -> bool:
        """Sends in this task, listening; whether it suspended."""
        await self._finished()
        if self._stepper.step(message):
            return False
        await self._finished()
        return True

    async def _finished(self) -> None:
        """Completes a suspended send, but not for a client that leaves meanwhile."""
        if not self._stepper.busy:
            return
        self._listening.on_message = self._stepper.interrupt
        assert self._reader is not None
        self._hub.alarms.arm(self._reader, self._script.given_up_at())
        try:
            self._listen()
            while not await self._stepper.finish():
                self._listen()
                if time.monotonic() >= self._script.given_up_at():
                    logger.warning("ending a stream of %s whose client takes nothing", self._script.wish.channels)
                    if self._direct is not None:
                        self._direct.abort()
                    raise _Gone
        except asyncio.CancelledError:
            self._over = True  # nobody knows how much of it was written, so nothing may follow
            raise
        finally:
            self._listening.on_message = None

    def _listen(self) -> None:
        """Hears what there is, and leaves a ``receive`` waiting for the rest."""
        while (message := self._listening.poll()) is not None:
            self._hear(message)

    def _hear(self, message: Message | None) -> None:
        if message is not None and message["type"] == "http.disconnect":
            self._stepper.abandon()
            raise _Gone

    def _end_at(self, when: float) -> None:
        delay = max(0.0, when - time.monotonic())  # to the moment: servers wait for it
        self._loop.call_later(delay, self._look_again)
        self._loop.call_later(delay + LAST_WRITE_SECONDS, self._look_again)

    def _look_again(self) -> None:
        if self._reader is not None and not self._over:
            self._woken()
