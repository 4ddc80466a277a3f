"""Concurrent appends of one event loop share round trips: while one is in flight the next gathers.

- At most one call per channel is in flight, so appends keep the order in which they were made whatever has to be retried.
- Neighbouring plain appends to one channel travel as one: 3 µs of Redis CPU each instead of 6. They stay below the size
  up to which entries are announced whole.
- Nobody waits on a task of his own: callers hold a future, and one task per server works while there is something to do.
- A caller that is cancelled while its append waits takes it back; afterwards it is sent, and only the answer has no taker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

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


class _Waiting:
    __slots__ = ("batch", "future", "since", "size")

    def __init__(self, batch: Append, future: asyncio.Future[Appended], since: float) -> None:
        self.batch = batch
        self.future = future
        self.since = since
        self.size = sum([len(entry.data) + len(entry.head) + 70 for entry in batch.entries])

    @property
    def plain(self) -> bool:
        batch = self.batch
        special = batch.ephemeral or batch.close or batch.idempotency_key is not None
        return not special and batch.unknown_since is None


class _Lane:
    """What goes to one server."""

    def __init__(self) -> None:
        self.ready: deque[str] = deque()  # channels that have something waiting and nothing in flight
        self.task: asyncio.Task[None] | None = None


class Publisher:
    """The appends of one loop.

    Args:
        client: the loop's connections.
        codec: for the scripts.
        timeout: seconds until an append that could not be sent fails.
    """

    def __init__(self, client: Client, codec: Codec, timeout: float) -> None:
        self._client = client
        self._codec = codec
        self._timeout = timeout
        self._queues: dict[str, deque[_Waiting]] = {}
        self._lanes: dict[Address | None, _Lane] = {}

    def submit(self, batch: Append) -> asyncio.Future[Appended]:
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
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
        lane = self._lanes.get(address)
        if lane is None:
            lane = self._lanes[address] = _Lane()
        lane.ready.append(channel)
        if lane.task is None:
            lane.task = asyncio.get_running_loop().create_task(self._work(lane), name="sse_bridge-publisher")

    async def _work(self, lane: _Lane) -> None:
        try:
            while lane.ready:
                flight: list[tuple[AppendCall, list[_Waiting]]] = []
                size = 0
                while lane.ready and len(flight) < CALLS_PER_TRIP and size < BYTES_PER_TRIP:
                    channel = lane.ready.popleft()
                    together = self._gather(self._queues[channel])
                    if not together:
                        del self._queues[channel]
                        continue
                    flight.append((AppendCall(self._codec, _merged(together)), together))
                    size += sum([waiting.size for waiting in together])
                if flight:
                    await self._fly(flight)
        except asyncio.CancelledError:  # the loop is being shut down, and who waits with it
            for channel in lane.ready:
                for waiting in self._queues.pop(channel):
                    waiting.future.cancel()
            lane.ready.clear()
            raise
        finally:
            lane.task = None

    async def _fly(self, flight: Sequence[tuple[AppendCall, list[_Waiting]]]) -> None:
        why = "cancelled"
        # Who waited in the queue gets the rest of the deadline, but at least one attempt.
        oldest = min([together[0].since for _, together in flight])
        timeout = max(self._timeout / 3, oldest + self._timeout - time.monotonic())
        try:
            await self._client.run([call for call, _ in flight], timeout)
        except Exception as error:  # a bug must not keep others waiting for ever
            log.exception("publishing failed")
            why = repr(error)
        finally:
            for call, together in flight:
                if not call.done:
                    call.fail(PublishUncertain(f"channel {call.channel!r}: publishing was ended in between: {why}"))
                _hand_out(call, together)
                if self._queues[call.channel]:
                    self._make_ready(call.channel)
                else:
                    del self._queues[call.channel]

    def _gather(self, queue: deque[_Waiting]) -> list[_Waiting]:
        """Takes from a channel's queue what travels as one append."""
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
                        f"channel {waiting.batch.channel!r}: Redis was too slow, and the event was not sent"
                    )
                )
                continue
            size += waiting.size
            entries += len(waiting.batch.entries)
            if together and not (waiting.plain and size <= ANNOUNCED_WHOLE and entries <= MERGED_ENTRIES):
                break
            together.append(queue.popleft())
            if not waiting.plain:
                break
        return together


def _merged(together: Sequence[_Waiting]) -> Append:
    first = together[0].batch
    if len(together) == 1:
        return first
    return replace(first, entries=tuple([entry for waiting in together for entry in waiting.batch.entries]))


def _hand_out(call: AppendCall, together: Sequence[_Waiting]) -> None:
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
