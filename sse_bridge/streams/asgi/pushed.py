"""A channel stream into an ASGI server, pushed by the hub: the request's task sleeps while events pass.

    opening   the task waits until every channel is subscribed and read
    alone     the task writes: it catches up, or the client takes its bytes slowly
    shared    the hub writes, once per pass for all readers in the same place; the task waits for the client to leave
    over      everything is released

A write that suspends (flow control) ends the hub's part at once: the task finishes exactly that one, catches up from the
position behind it, and joins again when it stands at the head. After three such writes in a row the reader stays alone
until it has taken as many without suspending. A gone client is noticed in every state, since the task listens in all.
A client that takes nothing any more gets no last frame: its write is given up a moment after the stream's end is due.
A server that cancels the request still gets a last frame that leaves at once: hypercorn's workers retire without a
signal, and a cancelled request is the first sign of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from ...admission.admissions import Why
from ...errors import ConfigurationError, SSEBridgeError
from ..channels.script import ChannelScript
from ..http.compression import Coding
from ..lifecycle.ending import LAST_WRITE_SECONDS, IncompleteStream
from ..lifecycle.opening import Place, acarry_out, opening
from ..writers.cutting import cut
from ..writers.stepping import Disconnected, Listening, Message, Stepper
from ..writers.transport import TransportWriter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...admission.admissions import Refused
    from ...hub.loop import LoopHub, LoopReader
    from ...hub.resumption import Resumption

_SUSPENSIONS: Final = 3
_OF_A_BODY: Final = frozenset({b"content-type", b"content-encoding"})

logger = logging.getLogger("sse_bridge.streams")


class PushedStream:
    """One response. Made and served in the request's task; `end_by` from any thread.

    Args:
        start: the ``http.response.start`` message, which leaves together with the first frame.
        coding: encodes every write, and is named in `start`; None: no content coding.

    Attributes:
        loop: the event loop that serves the stream.
        start: the same, until it was sent.
    """

    __slots__ = (
        "__weakref__", "_coding", "_hub", "_listening", "_over", "_reader", "_resumption", "_script", "_stepper",
        "_suspensions", "_told", "_transport_writer", "loop", "start",
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
        self.start: Message | None = start
        self.loop = asyncio.get_running_loop()
        self._stepper = Stepper(send)
        self._transport_writer: TransportWriter | None = None
        self._listening = Listening(receive)
        self._hub: LoopHub
        self._reader: LoopReader | None = None
        self._resumption: Resumption | None = None  # between `enter` and the first write
        self._over = False
        self._suspensions = 0
        self._told: bytes | None = None  # while shared: the id at the last heartbeat; None: the client lags

    async def serve(self) -> SSEBridgeError | None:
        """Streams until the end or until the client leaves; raises what `send` raises, except that the client left.

        Returns:
            The error to answer instead, if nothing was sent.
        """
        streams = self._script.bridge.streams
        try:
            try:
                refused = await acarry_out(opening(self, self._script.bridge))
            except ConfigurationError as error:  # the broker cannot keep the leases that the settings ask for
                return error
            if refused is not None:
                return await self._turned_away(refused)
            reader = self._reader
            assert reader is not None
            if self._over or not await self._begin(reader):
                await self._say_ended()
                return None
            self._transport_writer = TransportWriter.of(self._stepper.send)
            while not self._over and not reader.closed:
                if reader.shared is None:
                    await self._catch_up(reader)
                if not self._over:
                    await self._listening.woken()
            await self._finish()
        except IncompleteStream:
            raise
        except (Disconnected, OSError):  # spec 2.4: OSError says the same
            pass
        except asyncio.CancelledError:
            self._take_leave()
            raise
        finally:
            self._over = True
            streams.discard(self)
            if self._reader is not None:
                self._reader.on_wake = None  # else a reference cycle waits for the garbage collector
                if self._reader.closed:  # by its hub, and a write that was pending then has armed the alarm again
                    self._hub.alarms.disarm(self._reader)
                self._reader.close()
            self._stepper.abandon()
            self._listening.close()
        return None

    def enter(self) -> Place:
        script, request = self._script, self._script.subscribe_request
        hub = self._hub = script.bridge.loop_hub()
        if script.stays(time.monotonic()):
            self._resumption = hub.resume(request, script.rendering, script.user)
        if self._resumption is None:
            reader = hub.enter(request, self, script.user)
        else:
            reader = hub.reenter(self._resumption, self, script.user)
        self._reader = reader
        reader.on_wake = self._woken
        return hub, reader, self._wait_ready

    def is_over(self) -> bool:
        """The client's id says that every channel has ended, and the log agrees: there is nothing to open."""
        assert self._reader is not None
        self._over = self._reader.follower.finished and self._script.subscribe_request.says_ended
        return self._over

    async def _turned_away(self, reason: Refused) -> SSEBridgeError | None:
        refused = self._script.refusal(reason)
        if refused is None:
            self._script.deadlines.end_at(time.monotonic())  # so that the write waits `LAST_WRITE_SECONDS` at most
            await self._write(self._script.refuse(reason))
            await self._finish()
        return refused

    async def _say_ended(self) -> None:
        """Answers 204, with which an EventSource stops reconnecting."""
        start, self.start = self.start, None
        assert start is not None
        kept = [(name, value) for name, value in start["headers"] if name not in _OF_A_BODY]
        await self._send({**start, "status": 204, "headers": kept})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _finish(self) -> None:
        if self._stepper.busy:
            await self._finished()
        if self._script.incomplete is not None:
            if not await cut(self._stepper.send, self._listening.receive):
                self._script.check_complete()
            return
        last = b"" if self._coding is None else self._coding.end()
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    def _take_leave(self) -> None:
        """Sends the last frame of a cancelled request, if it fits between two frames and leaves without a wait."""
        reader = self._reader
        if reader is None or reader.closed or self._over or self.start is not None or self._stepper.busy:
            return
        if reader.shared is not None:
            reader.shared.drop(reader, goes_on=True)
        now = time.monotonic()
        self._script.deadlines.end_at(now)
        data, _ = self._script.pull(reader, now)
        if self._script.incomplete is not None:
            return
        if self._coding is not None:
            data = self._coding.encode(data) + self._coding.end()
        # more_body is False in a message of its own, since a server may wait at the end, but not at a piece.
        if self._stepper.step({"type": "http.response.body", "body": data, "more_body": True}):
            self._stepper.step({"type": "http.response.body", "body": b"", "more_body": False})

    def end_by(self, when: float, why: Why = "drain") -> None:
        """Ends the stream at `when` at the latest; thread-safe."""
        self._script.deadlines.end_at(when, why)
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._end_at, when)

    # called by the hub

    def push(self, data: bytes) -> bool:
        if self._coding is not None:
            data = self._coding.encode(data)
        if self._transport_writer is not None and self._transport_writer.write(data):
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
        """Handles an alarm, or in the state alone something to pull."""
        reader = self._reader
        if reader is None or reader.shared is None:
            if self._stepper.busy:
                if time.monotonic() >= self._script.deadlines.given_up_at():
                    self._stepper.interrupt()
                else:
                    self._watch()
            self._listening.wake()
            return
        now = time.monotonic()
        due, told = self._script.due(now, reader.shared.wrote_at)
        if due == "heartbeat":
            follower = reader.shared.follower
            at = follower.id()
            if at != self._told and (follower.hidden or self._told is None):
                told = self._script.position(follower)
            self._told = at
            if self.push(told):
                due = None
        if due is None:
            self._hub.alarms.arm(reader, self._script.deadlines.next())
        else:
            reader.shared.drop(reader, goes_on=True)
            self._listening.wake()

    def _watch(self) -> asyncio.TimerHandle | None:
        """Lets the pending write be given up in time: by an alarm or, outside of an open hub, by the returned timer."""
        reader, now = self._reader, time.monotonic()
        if reader is not None and not reader.closed:
            self._hub.alarms.arm(reader, self._script.deadlines.given_up_at())
            return None
        if reader is not None:
            self._script.deadlines.end_at(now)
        return self.loop.call_later(max(0.0, self._script.deadlines.given_up_at() - now), self._woken)

    # in the request's task

    async def _wait_ready(self, until: float) -> None:
        assert self._reader is not None
        self._hub.alarms.arm(self._reader, until)
        await self._listening.woken()

    async def _begin(self, reader: LoopReader) -> bool:
        """The first write; False: nothing is left to say."""
        resumption, self._resumption = self._resumption, None
        if resumption is not None:
            await self._resume(reader, resumption)
            return True
        first = self._script.open(reader.follower.id(), time.monotonic())
        try:
            data, self._over = self._script.pull(reader, time.monotonic())
        except Exception:
            await self._write(first)  # an EventSource gives up at the server's 500, and reconnects behind a cut 200
            raise
        # A format that cuts can say an end by the status only.
        if self._over and not data and self._script.wire.cuts and self._script.incomplete is None:
            return False
        waited = await self._write(first, data)
        if not (waited or data or self._over):  # a delivery that came while a write waited must be pulled first
            self._share(reader)
        return True

    async def _resume(self, reader: LoopReader, resumption: Resumption) -> None:
        """One write, and straight into the group; alone if the write waits, or if anything comes meanwhile."""
        body = self._piece(self._script.open(resumption.id, time.monotonic()), resumption.data)
        start, self.start = self.start, None
        assert start is not None
        begun = self._stepper.step(start)
        if self._hub.settle(reader, self, resumption, written=begun and self._stepper.step(body)):
            self._hub.alarms.arm(reader, self._script.deadlines.next())
            self._told = resumption.client_id
            return
        if self._stepper.busy:
            await self._finished()
        if not begun:
            await self._send(body)

    async def _catch_up(self, reader: LoopReader) -> None:
        """Writes all pending batches, and then joins shared readers or stays alone until the next wake."""
        if self._stepper.busy:  # by the hub's last write; behind it the client is told of a hub that closed meanwhile
            await self._finished()
        while not self._over and reader.shared is None:
            data, self._over = self._script.pull(reader, time.monotonic())
            if data:
                await self._write(data)
            elif not self._over:
                self._share(reader)
                return

    def _share(self, reader: LoopReader) -> None:
        """Lets a reader that has got all that was pending join shared readers, where it can."""
        self._hub.alarms.arm(reader, self._script.deadlines.next())
        self._told = None if reader.follower.hidden else reader.follower.id()
        if self._suspensions < _SUSPENSIONS:
            self._hub.join_shared(reader, self, self._script.rendering)

    def _piece(self, first: bytes, page: bytes = b"") -> Message:
        """One message with both, each encoded by itself, since readers in the same place share the page's blocks."""
        if self._coding is not None:
            first = self._coding.encode(first)
            page = self._coding.encode(page) if page else b""
        return {"type": "http.response.body", "body": first + page, "more_body": True}

    async def _write(self, first: bytes, page: bytes = b"") -> bool:
        """Whether a send suspended, so that anything may have happened meanwhile."""
        piece = self._piece(first, page)
        start, self.start = self.start, None
        waited = start is not None and not self._stepper.step(start)
        if waited:
            await self._finished()
        if suspended := not self._stepper.step(piece):
            await self._finished()
        self._suspensions = self._suspensions if suspended else max(0, self._suspensions - 1)
        return waited or suspended

    async def _send(self, message: Message) -> None:
        """Sends in this task, while it listens; not while another send is pending."""
        if not self._stepper.step(message):
            await self._finished()

    async def _finished(self) -> None:
        """Completes the send that the stepper is busy with, but not for a client that leaves meanwhile."""
        self._listening.on_message = self._stepper.interrupt
        timer = self._watch()
        try:
            self._listening.poll()
            while not await self._stepper.finish():
                self._listening.poll()
                if time.monotonic() >= self._script.deadlines.given_up_at():
                    logger.warning(
                        "ending a stream of %s whose client takes nothing", self._script.subscribe_request.channels
                    )
                    if self._transport_writer is not None:
                        self._transport_writer.abort()
                    raise Disconnected
        except asyncio.CancelledError:
            self._over = True  # the write may be incomplete, so nothing may follow
            raise
        finally:
            self._listening.on_message = None
            if timer is not None:
                timer.cancel()

    def _end_at(self, when: float) -> None:
        delay = max(0.0, when - time.monotonic())  # on time: the server waits for the end
        self.loop.call_later(delay, self._look_again)
        self.loop.call_later(delay + LAST_WRITE_SECONDS, self._look_again)

    def _look_again(self) -> None:
        if self._reader is not None and not self._over:
            self._woken()
