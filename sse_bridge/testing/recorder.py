"""A recorder of an application's published events, and a bridge in memory to publish on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..backends.base import Append, Appended, NewEntry
from ..bridge import Bridge
from ..default import get_bridge, replace_default
from ..events import Entry, Event, Position, channel_key
from ..publishing.observed import Outcome, observe, stop_observing


@contextmanager
def memory_bridge(**settings: Any) -> Iterator[Bridge]:
    """A fresh bridge in memory, the default one inside the block; then the previous one is put back and this one closed.

    For ``publish``, ``apublish`` and adapters that use the default bridge (Django, raw ASGI, Starlette, Celery). A Flask
    app has a bridge of its own: ``SSEBridge(app, url="memory://")``.

    Args:
        settings: of `sse_bridge.Settings`, such as ``heartbeat_seconds=0.1``.
    """
    bridge = Bridge("memory://", **settings)
    previous = replace_default(bridge)
    try:
        yield bridge
    finally:
        replace_default(previous)
        bridge.close()


@contextmanager
def record(bridge: Bridge | None = None) -> Iterator[Recorder]:
    """Collects what this process publishes through a bridge inside the block, sync or async, on any backend.

    Args:
        bridge: the default one if omitted.
    """
    bridge = bridge or get_bridge()
    recorder = Recorder()
    observed = observe(bridge, recorder._observe)
    try:
        yield recorder
    finally:
        stop_observing(bridge, observed)


class Recorder:
    """Published events, in the order in which the calls returned; made by `record`. Thread-safe.

    An event is here as soon as its publish returned, but not if that failed or repeated an idempotency key. Times are
    this process's clock, not the broker's. A spooled event has no position yet.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._changed = threading.Condition()

    @property
    def events(self) -> list[Event]:
        """Everything so far, ends (``stream.end``) and ephemeral events too."""
        with self._changed:
            return list(self._events)

    def on(self, channel: str) -> list[Event]:
        """The events on one channel."""
        return [event for event in self.events if event.channel == channel]

    def clear(self) -> None:
        with self._changed:
            self._events.clear()

    def expect(self, count: int, timeout: float = 5.0) -> list[Event]:
        """Waits until at least `count` events are there; for what other threads publish.

        Args:
            timeout: seconds.

        Raises:
            AssertionError: there are fewer after `timeout`.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) >= count, timeout)
            found = list(self._events)
        if len(found) < count:
            raise AssertionError(f"expected {count} published events within {timeout} s, got {len(found)}: {found!r}")
        return found

    async def aexpect(self, count: int, timeout: float = 5.0) -> list[Event]:
        """The async twin of `expect`; waits on a thread, which goes on until `timeout` after a cancel."""
        return await asyncio.to_thread(self.expect, count, timeout)

    def _observe(self, batches: Sequence[Append], outcomes: Sequence[Outcome], seconds: float) -> None:
        now_ms = int(time.time() * 1000)
        found: list[Event] = []
        for batch, outcome in zip(batches, outcomes, strict=True):
            if isinstance(outcome, Appended) and not outcome.recognised:
                first = outcome.last - len(batch.entries) + 1
                found += [_event(batch, new, outcome, first + i, now_ms) for i, new in enumerate(batch.entries)]
        with self._changed:
            self._events += found
            self._changed.notify_all()


def _event(batch: Append, new: NewEntry, appended: Appended, offset: int, time_ms: int) -> Event:
    marks, _, type_ = new.head.decode("ascii").partition(" ")
    stored = not (batch.ephemeral or appended.spooled)
    entry = Entry(appended.epoch, offset, b"", new.check, time_ms, marks[0], marks[1], type_, new.data, stored)
    position = None
    if stored:
        key = channel_key(batch.channel).decode()
        position = Position(key, appended.epoch.decode(), offset, new.check.decode(), entry.is_end)
    return Event.of(batch.channel, entry, position, None if position is None else str(position))
