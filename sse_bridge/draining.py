"""The part of the façade that ends the streams of this process: `Bridge.drain`."""

from __future__ import annotations

import asyncio
import time

from .errors import InvalidInput
from .part import Part
from .streams.lifecycle.registry import Registry
from .streams.lifecycle.signals import GRACE_SECONDS, LAST_FRAMES_SECONDS

MAX_SECONDS = 3600.0


class Draining(Part):
    """Methods of `Bridge`."""

    streams: Registry

    def drain(self, seconds: float | None = None) -> bool:
        """Ends all streams of this bridge in this process, for a server that goes down without a signal.

        Each stream ends on a frame boundary with a ``retry:`` of its own, spread over `seconds`, and its client resumes
        elsewhere. New streams are refused from now on, while publishing and subscriptions go on. At SIGTERM and SIGINT, and
        where a server shows that a worker retires (docs/deploy.md), the bridge drains by itself. WebSockets and streams of
        iterables end, too; subscriptions do not.

        Args:
            seconds: from 0 (all at once) to 3,600; the setting ``drain_seconds`` if omitted.

        Returns:
            True when the last stream has ended; False 2 s after `seconds`, if a client reads nothing, or a source on a WSGI
            server's own thread yields nothing.

        Raises:
            InvalidInput: `seconds` is out of range.
            AsyncContextError: this thread runs an event loop; use `adrain`.

        Blocks until then; call it from any thread or greenlet that serves no stream.
        """
        self._check_sync("drain")
        spread = self._spread(seconds)
        streams, open_at_first = self.streams, len(self.streams)
        streams.begin_drain(spread)
        drained = streams.drained(spread + GRACE_SECONDS)
        if open_at_first:
            time.sleep(LAST_FRAMES_SECONDS)
        return drained

    async def adrain(self, seconds: float | None = None) -> bool:
        """The async twin of `drain`. Cancelling does not undo the drain."""
        self._check_open()
        spread = self._spread(seconds)
        streams, open_at_first = self.streams, len(self.streams)
        streams.begin_drain(spread)
        drained = await streams.adrained(spread + GRACE_SECONDS)
        if open_at_first:
            await asyncio.sleep(LAST_FRAMES_SECONDS)
        return drained

    def _spread(self, seconds: float | None) -> float:
        if seconds is None:
            return self.settings.drain_seconds
        number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if not number or not 0 <= seconds <= MAX_SECONDS:
            raise InvalidInput(f"seconds must be from 0 to {MAX_SECONDS:g}, got {seconds!r:.100}")
        return float(seconds)
