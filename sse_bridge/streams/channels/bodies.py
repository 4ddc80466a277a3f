"""Bodies that follow channels, one per colour over the same script.

A body yields whole frames only, all that are pending in one piece of up to `max_write_bytes`. If the broker cannot be
reached while opening, the body is one frame that says when to reconnect.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import TYPE_CHECKING

from typing_extensions import override

from ...admission.admissions import Why
from ...errors import BackendUnavailable
from ..lifecycle.bodies import LoopBody, ThreadBody
from ..lifecycle.opening import Place
from ..writers.socket import ServerWrite, SocketWriter
from .script import ChannelScript

if TYPE_CHECKING:
    from ...hub.loop import LoopReader
    from ...hub.thread_reader import ThreadReader


class AsyncChannelBody(LoopBody):
    """An async iterator of bytes; see `LoopBody`."""

    _script: ChannelScript

    def __init__(self, script: ChannelScript) -> None:
        super().__init__(script)
        self._reader: LoopReader | None = None

    @override
    def enter(self) -> Place:
        hub = self._script.bridge.loop_hub()
        reader = self._reader = hub.enter(self._script.subscribe_request, self, self._script.user)
        weakref.finalize(self, reader.abandon).atexit = False  # for a server that never calls `close`
        return hub, reader, reader.wait

    @override
    def _open(self) -> bytes:
        assert self._reader is not None
        return self._script.open(self._reader.follower.id(), time.monotonic())

    @override
    async def _more(self, first: bytes = b"") -> bytes:
        reader = self._reader
        assert reader is not None
        while not reader.closed:
            data, over = self._script.pull(reader, time.monotonic())
            if over:
                self._over = True
                reader.close()
            if first or data or over:
                return first + data
            await reader.wait(self._script.deadlines.next())
        return first

    @override
    def _end_at(self, when: float) -> None:
        assert self.loop is not None
        self.loop.call_later(max(0.0, when - time.monotonic()), self._look_again)  # on time: the server waits for it

    def _look_again(self) -> None:
        if self._reader is not None and not self._over:
            self._reader.wake()

    @override
    def close(self) -> None:
        super().close()
        if self._reader is None:
            return
        if asyncio._get_running_loop() is self.loop:
            self._reader.close()
        else:
            self._reader.abandon()


class SyncChannelBody(ThreadBody):
    """A blocking iterator of bytes; see `ThreadBody`.

    The hub writes to the server's socket, where it can, while the client stands at the head of all channels
    (states as in `pushed`: alone, shared), and the iterating thread sleeps in between.

    Args:
        server: the result of the server's start_response; None: unknown.
    """

    _script: ChannelScript

    def __init__(self, script: ChannelScript, server: ServerWrite | None = None) -> None:
        super().__init__(script)
        self._reader: ThreadReader | None = None
        self._server = server
        self._writer: SocketWriter | None = None
        self._yielded = 0

    @override
    def __next__(self) -> bytes:
        data = super().__next__()
        self._yielded += len(data)
        return data

    @override
    def enter(self) -> Place:
        if self._script.away:
            raise BackendUnavailable("the broker was asked for this stream just now, and did not answer")
        hub = self._script.bridge.thread_hub()
        # The body owns its reader, since a server may forget to call `close`.
        reader = self._reader = hub.enter(self._script.subscribe_request, self, self, self._script.user)
        return hub, reader, reader.wait

    @override
    def _open(self) -> bytes:
        assert self._reader is not None
        return self._script.open(self._reader.follower.id(), time.monotonic())

    @override
    def _more(self, first: bytes = b"") -> bytes:
        reader = self._reader
        assert reader is not None
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
        """Waits for a batch to pull or a deadline; the hub writes to the socket in the meantime, where it can."""
        if self._server is not None and self._yielded:
            self._writer = SocketWriter.of(self._server, self._yielded, reader.wake)
            self._server = None
        writer, follower = self._writer, reader.follower
        told = follower.id()
        # A reader with unreported filtered entries must not join: a group of shared readers counts its own only, and
        # the rest is lost.
        if writer is None or follower.hidden or not reader.join_shared(writer, self._script.rendering):
            reader.wait(self._script.deadlines.next())
            return
        while not reader.alone(self._must_leave):  # not `closed`: the hub may write until the reader is not shared
            reader.wait(self._script.deadlines.next())
        writer.complete()
        if reader.follower.id() == told:
            reader.follower.tell_position()  # the client has this id already

    def _must_leave(self, wrote_at: float) -> bool:
        return self._script.deadlines.due(time.monotonic(), wrote_at) is not None

    @override
    def end_by(self, when: float, why: Why = "drain") -> None:
        super().end_by(when, why)
        if self._reader is not None:
            self._reader.alarm(when)

    @override
    def close(self) -> None:
        super().close()
        if self._reader is not None:
            self._reader.close()
