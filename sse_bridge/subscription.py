"""What `Bridge.subscribe` and `asubscribe` return: one stream of events, three ways to consume it.

Iterate, or ask for the `next` one with a timeout; `dropped` counts what the slow-reader policy skipped. Gaps are events
of type ``stream.gap``, a stored end is one of type ``stream.end``; after the last channel's end the iteration stops.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

from typing_extensions import Self

from .events import END_TYPE, Event, Position, Visibility, channel_key
from .follow.follower import END, GAP, POSITION, Batch, Delivery

if TYPE_CHECKING:
    from types import TracebackType

    from .follow.wish import Wish
    from .hub.loop import LoopHub, LoopReader
    from .hub.thread_reader import ThreadReader
    from .hub.threads import ThreadHub

_PULL_BYTES = 1_048_576  # of data per look at the window


def event_of(delivery: Delivery) -> Event | None:
    """A delivery as users see it; None for a mere move of the position."""
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
        event = Event(delivery.channel, {"channel": delivery.channel, "reason": gap.reason, "missed": gap.missed})
        event.type = "stream.gap"
        event.position = Position(
            channel_key(delivery.channel).decode(), gap.after.epoch.decode(), gap.after.offset, gap.after.check.decode()
        )
    else:
        assert delivery.kind == END
        event = Event(delivery.channel, {"channel": delivery.channel, "reason": None})
        event.type = END_TYPE
    event.visibility = Visibility.USER_FACING
    event.id = id_text
    return event


class _Pending:
    """Events of the last batch that were not handed out yet."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()

    def add(self, batch: Batch) -> None:
        self.events.extend(event for event in map(event_of, batch.deliveries) if event is not None)


class Subscription:
    """A blocking iterator of events; a context manager. For one consuming thread; `close` from any.

    Attributes:
        closed: `close` was called, or the last channel's end was handed out.
    """

    def __init__(self, hub: ThreadHub, wish: Wish) -> None:
        self.channels = wish.channels
        self._pending = _Pending()
        self._reader: ThreadReader = hub.enter(wish)
        weakref.finalize(self, self._reader.abandon).atexit = False  # the last net for who forgets to close

    @property
    def closed(self) -> bool:
        return self._reader.closed

    @property
    def dropped(self) -> int:
        """Log entries that the slow-reader policy skipped."""
        return self._reader.follower.dropped

    @property
    def id(self) -> str:
        """Where to resume after what was pulled so far; empty before `wait_ready`."""
        return self._reader.follower.id().decode()

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Waits until every channel is subscribed and read, so that nothing published from now on is missed.

        Returns:
            Whether it is; False after `timeout` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self._reader.ready():
            if self.closed or (until is not None and time.monotonic() >= until):
                return False
            self._reader.wait(until, exactly=True)
        return True

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event; None after `timeout` seconds without one, or when the stream is over (see `closed`).

        Raises:
            SlowReader: policy ``disconnect``, and this reader fell too far behind.
        """
        until = None if timeout is None else time.monotonic() + timeout
        reader = self._reader
        while not self._pending.events:
            if reader.closed:
                return None
            batch = reader.pull(_PULL_BYTES)
            if batch is not None:
                self._pending.add(batch)
            elif reader.follower.finished:
                self.close()
                return None
            elif until is not None and time.monotonic() >= until:
                return None
            else:
                reader.wait(until, exactly=True)
        return self._pending.events.popleft()

    def close(self) -> None:
        """Gives the subscription back; idempotent."""
        self._reader.close()

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncSubscription:
    """An async iterator of events; an async context manager. For one consuming task on one loop.

    Cancelling a waiting `next` or ``async for`` loses no event.
    """

    def __init__(self, hub: LoopHub, wish: Wish) -> None:
        self.channels = wish.channels
        self._hub = hub
        self._pending = _Pending()
        self._reader: LoopReader = hub.enter(wish)
        weakref.finalize(self, self._reader.abandon).atexit = False  # the last net for who forgets to close

    @property
    def closed(self) -> bool:
        return self._reader.closed

    @property
    def dropped(self) -> int:
        """Log entries that the slow-reader policy skipped."""
        return self._reader.follower.dropped

    @property
    def id(self) -> str:
        """Where to resume after what was pulled so far; empty before `wait_ready`."""
        return self._reader.follower.id().decode()

    async def wait_ready(self, timeout: float | None = None) -> bool:
        """Waits until every channel is subscribed and read; False after `timeout` seconds."""
        try:
            await asyncio.wait_for(self._until_ready(), timeout)
        except asyncio.TimeoutError:
            return False
        return not self.closed

    async def next(self, timeout: float | None = None) -> Event | None:
        """The next event; None after `timeout` seconds without one, or when the stream is over (see `closed`).

        Raises:
            SlowReader: policy ``disconnect``, and this reader fell too far behind.
        """
        if not self._pending.events:
            try:
                if timeout is None:
                    await self._fill()
                else:
                    await asyncio.wait_for(self._fill(), timeout)
            except asyncio.TimeoutError:
                return None
        return self._pending.events.popleft() if self._pending.events else None

    async def aclose(self) -> None:
        """Gives the subscription back; idempotent."""
        self._reader.close()

    def __aiter__(self) -> AsyncSubscription:
        return self

    async def __anext__(self) -> Event:
        event = await self.next()
        if event is None:
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _until_ready(self) -> None:
        while not self._reader.closed and not self._reader.ready():
            await self._reader.wait()

    async def _fill(self) -> None:
        reader = self._reader
        while not self._pending.events and not reader.closed:
            batch = reader.pull(_PULL_BYTES)
            if batch is not None:
                self._pending.add(batch)
            elif reader.follower.finished:
                reader.close()
            else:
                await reader.wait()
