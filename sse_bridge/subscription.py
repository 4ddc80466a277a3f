"""Subscriptions, the results of `Bridge.subscribe` and `asubscribe`.

Iterate, or call `next` with a timeout; `dropped` counts the entries that the slow-reader policy skipped. Gaps are events of
type ``stream.gap``, a stored end is one of type ``stream.end``; after the last channel's end the iteration stops.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Generic, TypeVar

from .events import END_TYPE, Event, Position, channel_key
from .follow.batch import END, GAP, POSITION, Batch, Delivery
from .follow.subscribe_request import SubscribeRequest
from .hub.loop import LoopHub, LoopReader
from .hub.thread_reader import ThreadReader
from .hub.threads import ThreadHub

Reader = TypeVar("Reader", bound=ThreadReader | LoopReader)

_PULL_BYTES = 65_536  # of data per pull: the most that an iterator holds for a slow consumer


def event_of(delivery: Delivery) -> Event | None:
    """The event of a delivery; None for a position note."""
    if delivery.kind == POSITION:
        return None
    id_text = None if delivery.id is None else delivery.id.decode()
    if delivery.entry is not None:
        entry = delivery.entry
        position = None
        if entry.stored:
            key = channel_key(delivery.channel).decode()
            position = Position(key, entry.epoch.decode(), entry.offset, entry.check.decode(), entry.is_end)
        return Event.of(delivery.channel, entry, position, id_text)
    if delivery.kind == GAP:
        assert delivery.gap is not None
        gap = delivery.gap
        data = {"channel": delivery.channel, "reason": gap.reason, "missed": gap.missed}
        event = Event(delivery.channel, data, type="stream.gap")
        event.position = Position(
            channel_key(delivery.channel).decode(), gap.after.epoch.decode(), gap.after.offset, gap.after.check.decode()
        )
    else:
        assert delivery.kind == END
        event = Event(delivery.channel, {"channel": delivery.channel, "reason": None}, type=END_TYPE)
    event.id = id_text
    return event


def events_of(batch: Batch) -> deque[Event]:
    return deque([event for event in map(event_of, batch.deliveries) if event is not None])


class _Events(Generic[Reader]):
    """The base of both subscriptions: their reader, and the methods that do not wait."""

    def __init__(self, channels: tuple[str, ...], reader: Reader) -> None:
        self.channels = channels
        self._reader = reader
        self._pending: deque[Event] = deque()
        self._told: str | None = None  # the last returned id
        self._was_ready = False

    @property
    def closed(self) -> bool:
        return self._reader.closed

    @property
    def dropped(self) -> int:
        """Log entries that the slow-reader policy skipped."""
        return self._reader.follower.dropped

    def _is_ready(self) -> bool:
        """Whether the reader is ready now; raises if it never was and will not be."""
        ready = self._reader.ready()
        self._was_ready = ready or self._was_ready
        if not self._was_ready and (refusal := self._reader.refusal()) is not None:
            raise refusal
        return ready


class Subscription(_Events[ThreadReader], Iterator[Event], AbstractContextManager["Subscription"]):
    """A blocking iterator of events; a context manager. For one consuming thread; `close` from any.

    An exception out of a signal handler may end any call; the next one goes on without losing or repeating an event.

    Attributes:
        closed: whether `close` was called, or the last channel's end was returned.
    """

    def __init__(self, hub: ThreadHub, request: SubscribeRequest) -> None:
        super().__init__(request.channels, hub.enter(request, owner=self))

    @property
    def id(self) -> str:
        """The id to resume from after the events returned so far; empty before `wait_ready`."""
        reader = self._reader
        if self._pending or reader.moving:
            return self._told or reader.began.decode()
        return reader.follower.id().decode()

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Waits until every channel is subscribed and read, so that no event published from now on is missed.

        Returns:
            True; False after `timeout` seconds, or if the subscription was closed.

        Raises:
            BackendError: waiting is useless, since Redis refuses the password, or a channel.
            ConfigurationError: waiting is useless, for a reason in the settings.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self._is_ready():
            if self.closed or (until is not None and time.monotonic() >= until):
                return False
            self._reader.wait(until, exactly=True)
        return True

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event; None after `timeout` seconds without one, or when the stream is over (see `closed`).

        Raises:
            SlowReader: policy ``disconnect``, and this reader fell too far behind.
            BackendError, ConfigurationError: as `wait_ready`, until the subscription was ready once.
        """
        until = None if timeout is None else time.monotonic() + timeout
        reader = self._reader
        while not self._pending:
            if reader.closed:
                return None
            if reader.moving:  # an exception ended the last call before `_pending` kept its events
                reader.rewind()
            batch = reader.pull(_PULL_BYTES)
            if batch is not None:
                events = events_of(batch)
                self._pending, reader.steps, reader.moving = events, batch.steps or reader.steps, False
                continue
            reader.stands()
            if reader.follower.finished:
                self.close()
                return None
            if not self._was_ready:
                self._is_ready()
            if until is not None and time.monotonic() >= until:
                return None
            reader.wait(until, exactly=True)
        # No call follows, so an exception comes before the event is removed, or after the caller has it.
        event = self._pending[0]
        del self._pending[0]
        self._told = event.id or self._told
        return event

    def close(self) -> None:
        """Ends the subscription; idempotent."""
        self._reader.close()

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def __exit__(self, *error: object) -> None:
        self.close()


class AsyncSubscription(_Events[LoopReader], AsyncIterator[Event], AbstractAsyncContextManager["AsyncSubscription"]):
    """An async iterator of events; an async context manager. For one consuming task on one loop.

    Cancelling a waiting `next` or ``async for`` loses no event.
    """

    def __init__(self, hub: LoopHub, request: SubscribeRequest) -> None:
        super().__init__(request.channels, hub.enter(request))
        self._began = b""  # the id of the position before the first batch
        weakref.finalize(self, self._reader.abandon).atexit = False  # ends a subscription that was not closed

    @property
    def id(self) -> str:
        """The id to resume from after the events returned so far; empty before `wait_ready`."""
        if self._pending:
            return self._told or self._began.decode()
        return self._reader.follower.id().decode()

    async def wait_ready(self, timeout: float | None = None) -> bool:
        """The async twin of `Subscription.wait_ready`. Safe to cancel."""
        try:
            await asyncio.wait_for(self._until_ready(), timeout)
        except TimeoutError:
            return False
        return not self.closed

    async def next(self, timeout: float | None = None) -> Event | None:
        """The next event; None after `timeout` seconds without one, or when the stream is over (see `closed`).

        Raises:
            SlowReader: policy ``disconnect``, and this reader fell too far behind.
            BackendError, ConfigurationError: as `Subscription.wait_ready`, until the subscription was ready once.
        """
        if not self._pending:
            try:
                if timeout is None:
                    await self._fill()
                else:
                    await asyncio.wait_for(self._fill(), timeout)
            except TimeoutError:
                return None
        if not self._pending:
            return None
        event = self._pending.popleft()
        self._told = event.id or self._told
        return event

    async def aclose(self) -> None:
        """Ends the subscription; idempotent."""
        self._reader.close()

    async def __anext__(self) -> Event:
        event = await self.next()
        if event is None:
            raise StopAsyncIteration
        return event

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _until_ready(self) -> None:
        while not self._reader.closed and not self._is_ready():
            await self._reader.wait()

    async def _fill(self) -> None:
        reader = self._reader
        while not self._pending and not reader.closed:
            self._began = self._began or reader.follower.id()
            batch = reader.pull(_PULL_BYTES)
            if batch is not None:
                self._pending = events_of(batch)
            elif reader.follower.finished:
                reader.close()
            else:
                if not self._was_ready:
                    self._is_ready()
                await reader.wait()
