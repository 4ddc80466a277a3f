"""Concurrent appends of one event loop share round trips: while some are in flight the next gather.

- Callers get their answer when it arrives, not when the round trip is over: what they publish next flies while Redis works.
- At most one call per channel is in flight, so appends keep the order in which they were made whatever has to be retried.
- Neighbouring plain appends to one channel travel as one: 3 µs of Redis CPU each instead of 6. They stay below the size
  up to which entries are announced whole.
- Nobody waits on a task of his own: callers hold a future, and two tasks per server work while there is something to do.
- A caller that is cancelled while its append waits takes it back; afterwards it is sent, and only the answer has no taker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
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
TRIPS: Final = 2  # at once to one server: one that Redis works on, and one that is made or taken apart meanwhile


class _Waiting:
    """An append, and who waits for it.

    Attributes:
        size: of what it makes Redis announce, roughly.
    """

    __slots__ = ("batch", "future", "since", "size")

    def __init__(self, batch: Append, future: asyncio.Future[Appended], since: float) -> None:
        self.batch = batch
        self.future = future
        self.since = since
        size = 0
        for _, head, data in batch.entries:
            size += len(data) + len(head) + 70
        self.size = size

    @property
    def plain(self) -> bool:
        """It may travel together with its neighbours."""
        batch = self.batch
        special = batch.ephemeral or batch.close or batch.idempotency_key is not None
        return not special and batch.unknown_since is None


class _Lane:
    """What goes to one server.

    Attributes:
        ready: channels that have something waiting and nothing in flight.
        tasks: those that carry it.
        called: one of them has been made and has not looked yet.
    """

    __slots__ = ("called", "ready", "tasks")

    def __init__(self) -> None:
        self.ready: deque[str] = deque()
        self.tasks: set[asyncio.Task[None]] = set()
        self.called = False


class _Flight(AppendCall):
    """One append, and who waits for it; `landed` is called once, as soon as its fate is known."""

    def __init__(self, codec: Codec, together: list[_Waiting], landed: Callable[[_Flight], None]) -> None:
        super().__init__(codec, _merged(together))
        self.together = together
        self._landed: Callable[[_Flight], None] | None = landed

    @override
    def replied(self, reply: Any, asked: Address) -> bool:
        wrong_routes = super().replied(reply, asked)
        if self.done:
            self.land()
        return wrong_routes

    def land(self) -> None:
        landed, self._landed = self._landed, None
        if landed is not None:
            landed(self)


class Publisher:
    """The appends of one loop.

    Args:
        client: the loop's connections.
        codec: for the scripts.
        timeout: seconds until an append that could not be sent fails.
    """

    def __init__(self, client: Client, codec: Codec, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._codec = codec
        self._timeout = timeout
        self._queues: dict[str, deque[_Waiting]] = {}
        self._lanes: dict[Address | None, _Lane] = {}

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
        lane = self._lanes.get(address)
        if lane is None:
            lane = self._lanes[address] = _Lane()
        lane.ready.append(channel)
        if not lane.called and len(lane.tasks) < TRIPS:
            lane.called = True
            task = self._loop.create_task(self._work(lane), name="sse_bridge-publisher")
            if not task.done():  # an eager one whose appends were all cancelled
                lane.tasks.add(task)

    async def _work(self, lane: _Lane) -> None:
        lane.called = False
        try:
            while flights := self._board(lane):
                await self._fly(flights)
        except asyncio.CancelledError:  # the loop is being shut down, and who waits with it
            for channel in lane.ready:
                for waiting in self._queues.pop(channel):
                    waiting.future.cancel()
            lane.ready.clear()
            raise
        finally:
            task = asyncio.current_task()
            assert task is not None
            lane.tasks.discard(task)

    def _board(self, lane: _Lane) -> list[_Flight]:
        """What shares the next round trip."""
        flights: list[_Flight] = []
        size = 0
        while lane.ready and len(flights) < CALLS_PER_TRIP and size < BYTES_PER_TRIP:
            channel = lane.ready.popleft()
            together = self._gather(self._queues[channel])
            if not together:
                del self._queues[channel]
                continue
            flights.append(_Flight(self._codec, together, self._landed))
            for waiting in together:
                size += waiting.size
        return flights

    async def _fly(self, flights: Sequence[_Flight]) -> None:
        why = "cancelled"
        # Who waited in the queue gets the rest of the deadline, but at least one attempt.
        oldest = min([flight.together[0].since for flight in flights])
        timeout = max(self._timeout / 3, oldest + self._timeout - time.monotonic())
        try:
            await self._client.run(flights, timeout)
        except Exception as error:  # a bug must not keep others waiting for ever
            log.exception("publishing failed")
            why = repr(error)
        finally:
            for flight in flights:
                if not flight.done:
                    flight.fail(PublishUncertain(f"channel {flight.channel!r}: publishing was ended in between: {why}"))
                flight.land()

    def _landed(self, flight: _Flight) -> None:
        _hand_out(flight)
        if self._queues[flight.channel]:
            self._make_ready(flight.channel)
        else:
            del self._queues[flight.channel]

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
            if not (queue and waiting.plain):
                break
        return together


def _merged(together: Sequence[_Waiting]) -> Append:
    first = together[0].batch
    if len(together) == 1:
        return first
    return first._replace(entries=tuple([entry for waiting in together for entry in waiting.batch.entries]))


def _hand_out(flight: _Flight) -> None:
    together = flight.together
    if flight.error is not None:
        for waiting in together:
            if not waiting.future.done():
                waiting.future.set_exception(flight.error)
        return
    assert flight.result is not None
    result = flight.result
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
