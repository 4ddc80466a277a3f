"""The open streams of a bridge, and their drain: at shutdown each ends on a frame boundary, with its own `retry:`.

Streams are held weakly, so that one forgotten by its server is no leak. `begin_drain` may be called from a signal
handler's thread: it only sets each stream's end and wakes the stream.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable
from typing import Final, Protocol

from ...admission.admissions import Why
from ...runtime.chance import CHANCE

_LOOK_SECONDS: Final = 0.02  # polled, since a signal's thread may not take the lock that a condition needs

logger = logging.getLogger("sse_bridge.streams")


class OpenStream(Protocol):
    """A stream as the registry sees it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that serves the stream; None for a thread or greenlet."""

    def end_by(self, when: float, why: Why = "drain") -> None:
        """Ends the stream at `when` (`time.monotonic`) at the latest; thread-safe."""


class Registry:
    """See the module.

    Args:
        limit: the most streams at once; 0: no limit.

    Attributes:
        draining: every stream ends, and each new one as soon as it begins.
        on_add: called for each new stream, on the thread that serves it; it may begin a drain.
    """

    def __init__(self, limit: int = 0) -> None:
        self.draining = False
        self._draining_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self.on_add: Callable[[], None] | None = None
        self._limit = limit
        self._streams: weakref.WeakSet[OpenStream] = weakref.WeakSet()

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def full(self) -> bool:
        """Whether no further stream may begin; threads that ask at once, before their `add`, may exceed the limit."""
        return 0 < self._limit <= len(self._streams)

    def add(self, stream: OpenStream) -> None:
        self._streams.add(stream)
        if self.on_add is not None:
            self.on_add()
        if self.draining or (self._draining_loops and stream.loop in self._draining_loops):
            stream.end_by(time.monotonic())

    def discard(self, stream: OpenStream) -> None:
        self._streams.discard(stream)

    def is_draining(self, loop: asyncio.AbstractEventLoop | None = None) -> bool:
        """Whether the streams of this loop are told to end; None: all streams."""
        return self.draining or (loop is not None and loop in self._draining_loops)

    def begin_drain(self, spread_seconds: float, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Ends all present streams, spread over the given time, and new ones at once. Idempotent.

        Args:
            loop: only the streams of this loop, whose server retires; None: all.
        """
        if loop is None:
            self.draining = True
        else:
            self._draining_loops.add(loop)
        now = time.monotonic()
        for stream in self._snapshot():
            if loop is not None and stream.loop is not loop:
                continue
            try:
                stream.end_by(now + CHANCE.uniform(0.0, spread_seconds))
            except Exception as error:  # noqa: BLE001  # a loop may just have closed; the others must be told
                logger.warning("a stream could not be told of the drain: %r", error)

    def _snapshot(self) -> list[OpenStream]:
        while True:
            try:
                return list(self._streams)
            except RuntimeError:  # another thread added a stream; a lock is forbidden in a signal's thread
                continue

    def drained(self, timeout: float) -> bool:
        """Waits until every stream has ended; False after `timeout` seconds."""
        until = time.monotonic() + timeout
        while len(self):
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    async def adrained(self, timeout: float) -> bool:
        """The async twin of `drained`."""
        until = time.monotonic() + timeout
        while len(self):
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True
