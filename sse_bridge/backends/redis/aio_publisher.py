"""Concurrent appends of one event loop share round trips: while one is under way the next batch collects.

- Callers get their answer when it arrives, not at the round trip's end, so their next publish overlaps with Redis's work.
- At most one call per channel is in flight, so appends keep their order whatever has to be retried.
- Neighbouring plain appends to one channel travel as one: 3 µs of Redis CPU each instead of 6. They stay below the size
  up to which entries are announced whole.
- Callers hold a future and start no task: two tasks per server work while appends wait.
- Cancelling a caller withdraws an append that still waits; one already sent is published all the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from typing_extensions import override

from ...errors import BackendUnavailable, PublishUncertain
from ..base import Append, Appended
from .aio import Client
from .calls import AppendCall
from .scripts import Codec
from .urls import Address

log = logging.getLogger("sse_bridge.redis")

ANNOUNCED_WHOLE: Final = 16_384  # append.lua's bound; heads and lengths of a record take up to 64 + the type
MERGED_ENTRIES: Final = 128
CALLS_PER_TRIP: Final = 128
BYTES_PER_TRIP: Final = 1 << 20
TRIPS: Final = 2  # at once to one server: Redis works on one while the client encodes or decodes the other


class _Waiting:
    __slots__ = ("batch", "future", "since", "size")

    def __init__(self, batch: Append, future: asyncio.Future[Appended], since: float) -> None:
        self.batch = batch
        self.future = future
        self.since = since
        size = 0
        for _, head, data in batch.entries:
            size += len(data) + len(head) + 70
        self.size = size  # roughly the bytes that Redis announces for the append


@dataclass(slots=True, eq=False)
class _ServerQueue:
    ready: deque[str] = field(default_factory=deque)  # channels with appends waiting and none in flight
    tasks: set[asyncio.Task[None]] = field(default_factory=set)  # the tasks that send
    called: bool = False  # whether a task was made that has not looked at the queue yet


class _PendingCall(AppendCall):
    """One call and the appends merged in it; `deliver` is called once, as soon as the outcome is known."""

    def __init__(self, codec: Codec, together: list[_Waiting], deliver: Callable[[_PendingCall], None]) -> None:
        super().__init__(codec, _merged(together))
        self.together = together
        self._deliver: Callable[[_PendingCall], None] | None = deliver

    @override
    def replied(self, reply: Any, asked: Address) -> bool:
        wrong_routes = super().replied(reply, asked)
        if self.done:
            self.settle()
        return wrong_routes

    def settle(self) -> None:
        deliver, self._deliver = self._deliver, None
        if deliver is not None:
            deliver(self)


class Publisher:
    """The appends of one loop; one that could not be sent fails after `timeout` seconds."""

    def __init__(self, client: Client, codec: Codec, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._codec = codec
        self._timeout = timeout
        self._queues: dict[str, deque[_Waiting]] = {}
        self._servers: dict[Address | None, _ServerQueue] = {}

    def submit(self, batch: Append) -> asyncio.Future[Appended]:
        future: asyncio.Future[Appended] = self._loop.create_future()
        waiting = _Waiting(batch, future, time.monotonic())
        queue = self._queues.get(batch.channel)
        if queue is None:
            self._queues[batch.channel] = deque((waiting,))
            self._make_ready(batch.channel)
        else:
            queue.append(waiting)
        return future

    def _make_ready(self, channel: str) -> None:
        address = self._client.routes.address(channel)
        server = self._servers.get(address)
        if server is None:
            server = self._servers[address] = _ServerQueue()
        server.ready.append(channel)
        if not server.called and len(server.tasks) < TRIPS:
            server.called = True
            task = self._loop.create_task(self._work(server), name="sse_bridge-publisher")
            if not task.done():  # an eager task whose appends were all cancelled is done by now
                server.tasks.add(task)
                task.add_done_callback(partial(self._never_began, server))

    async def _work(self, server: _ServerQueue) -> None:
        server.called = False
        try:
            while pending := self._next_batch(server):
                await self._send(pending)
        except asyncio.CancelledError:
            self._give_up(server)
            raise
        finally:
            task = asyncio.current_task()
            assert task is not None
            server.tasks.discard(task)

    def _never_began(self, server: _ServerQueue, task: asyncio.Task[None]) -> None:
        """Replaces a task cancelled before its first step, which runs none of its lines, not even ``finally``."""
        if task in server.tasks:
            server.tasks.discard(task)
            server.called = False
            self._give_up(server)

    def _give_up(self, server: _ServerQueue) -> None:
        """Cancels the waiting appends when the loop shuts down."""
        for channel in server.ready:
            for waiting in self._queues.pop(channel):
                waiting.future.cancel()
        server.ready.clear()

    def _next_batch(self, server: _ServerQueue) -> list[_PendingCall]:
        """Takes from the queues the appends that share the next round trip."""
        pending: list[_PendingCall] = []
        size = 0
        while server.ready and len(pending) < CALLS_PER_TRIP and size < BYTES_PER_TRIP:
            channel = server.ready.popleft()
            together = self._take_mergeable(self._queues[channel])
            if not together:
                del self._queues[channel]
                continue
            pending.append(_PendingCall(self._codec, together, self._deliver))
            for waiting in together:
                size += waiting.size
        return pending

    async def _send(self, pending: Sequence[_PendingCall]) -> None:
        why = "cancelled"
        # An append that waited in the queue gets the rest of its deadline, but at least one attempt.
        oldest = min([call.together[0].since for call in pending])
        timeout = max(self._timeout / 3, oldest + self._timeout - time.monotonic())
        try:
            await self._client.run(pending, timeout)
        except Exception as error:  # a bug must not keep others waiting for ever
            log.exception("publishing failed: a round trip of %d appends ended with a bug", len(pending))
            why = repr(error)
        finally:
            for call in pending:
                if not call.done:
                    call.fail(PublishUncertain(f"publishing to {call.channel!r} was ended in between: {why}"))
                call.settle()

    def _deliver(self, call: _PendingCall) -> None:
        _hand_out(call)
        if self._queues[call.channel]:
            self._make_ready(call.channel)
        else:
            del self._queues[call.channel]

    def _take_mergeable(self, queue: deque[_Waiting]) -> list[_Waiting]:
        """Takes the appends from a channel's queue that are merged into one."""
        together: list[_Waiting] = []
        size = entries = 0
        now = time.monotonic()
        while queue:
            waiting = queue[0]
            if waiting.future.done():
                queue.popleft()
                continue
            if now - waiting.since >= self._timeout:
                queue.popleft()
                waiting.future.set_exception(
                    BackendUnavailable(
                        f"publishing to {waiting.batch.channel!r}: Redis was too slow, and the event was not sent"
                    )
                )
                continue
            size += waiting.size
            entries += len(waiting.batch.entries)
            if together and not (waiting.batch.plain and size <= ANNOUNCED_WHOLE and entries <= MERGED_ENTRIES):
                break
            together.append(queue.popleft())
            if not (queue and waiting.batch.plain):
                break
        return together


def _merged(together: Sequence[_Waiting]) -> Append:
    first = together[0].batch
    if len(together) == 1:
        return first
    return first._replace(entries=tuple([entry for waiting in together for entry in waiting.batch.entries]))


def _hand_out(call: _PendingCall) -> None:
    together = call.together
    if call.error is not None:
        for waiting in together:
            if not waiting.future.done():
                waiting.future.set_exception(call.error)
        return
    assert call.result is not None
    result = call.result
    if len(together) == 1:
        if not together[0].future.done():
            together[0].future.set_result(result)
        return
    last = result.last - sum([len(waiting.batch.entries) for waiting in together])
    for waiting in together:
        last += len(waiting.batch.entries)
        if not waiting.future.done():
            check = waiting.batch.entries[-1].check
            waiting.future.set_result(Appended(result.epoch, last, check, result.recognised, result.announced))
