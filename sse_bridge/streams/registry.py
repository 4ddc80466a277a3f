"""The open streams of a bridge, and their drain: at shutdown each ends on a frame boundary, with its own `retry:`.

Streams are held weakly, so one whose server forgot it is no leak. `begin_drain` may be called from a signal handler's
thread: it sets what each stream looks at, and wakes it.
"""

from __future__ import annotations

import logging
import time
import weakref
from typing import Protocol

from ..chance import CHANCE
from .pacing import Why

logger = logging.getLogger("sse_bridge.streams")


class OpenStream(Protocol):
    """A stream as the registry sees it."""

    def end_by(self, when: float, why: Why = "drain") -> None:
        """End at `when` (`time.monotonic`) at the latest; thread-safe."""


class Registry:
    """See the module.

    Args:
        limit: how many streams a process serves; 0: no limit.

    Attributes:
        draining: no new stream lives longer than a moment from now on.
    """

    def __init__(self, limit: int = 0) -> None:
        self.draining = False
        self._limit = limit
        self._streams: weakref.WeakSet[OpenStream] = weakref.WeakSet()

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def full(self) -> bool:
        """No further stream may begin. Asked right before `add`; threads that ask at once may all get in."""
        return 0 < self._limit <= len(self._streams)

    def add(self, stream: OpenStream) -> None:
        self._streams.add(stream)
        if self.draining:
            stream.end_by(time.monotonic())

    def discard(self, stream: OpenStream) -> None:
        self._streams.discard(stream)

    def begin_drain(self, spread_seconds: float) -> None:
        """Ends all streams, spread over the given time. Idempotent."""
        self.draining = True
        now = time.monotonic()
        for stream in self._snapshot():
            try:
                stream.end_by(now + CHANCE.uniform(0.0, spread_seconds))
            except Exception as error:  # noqa: BLE001  # its loop was closed just now; the others must hear of it
                logger.warning("a stream could not be told of the drain: %r", error)

    def _snapshot(self) -> list[OpenStream]:
        while True:
            try:
                return list(self._streams)
            except RuntimeError:  # a stream came on another thread meanwhile; a lock may not be taken here
                continue

    def drained(self, timeout: float) -> bool:
        """Waits until every stream has ended; False after `timeout` seconds."""
        until = time.monotonic() + timeout
        while len(self):
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)  # a signal's thread may take no lock that a condition would need
        return True
