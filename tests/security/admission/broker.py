"""A broker in memory that can be away, or never answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, Literal

from sse_bridge.admission.contract import TakeLease
from sse_bridge.backends.base import Sink, Upstream
from sse_bridge.backends.memory import MemoryBackend
from sse_bridge.config import Settings
from sse_bridge.errors import BackendUnavailable
from sse_bridge.records.continuity import ReadRequest

Mood = Literal["there", "away", "no link", "silent", "counts nothing"]


class Broker(MemoryBackend):
    """See the module.

    Attributes:
        mood: ``away``: whatever is asked fails, and the link is lost; ``no link``: nor is one made; ``silent``: nothing is ever answered or confirmed;
            ``counts nothing``: it went away when streams were to be counted.
    """

    def __init__(self) -> None:
        super().__init__(Settings())
        self.mood: Mood = "there"
        self._over = threading.Event()

    def leases(self) -> int:
        """How many streams are counted for users."""
        return sum(map(len, self._control._leases.values()))

    def release(self) -> None:
        """Lets go of the threads that wait for a silent broker."""
        self._over.set()

    def _ask(self, request: Any = None) -> None:
        if self.mood == "silent":
            self._over.wait(60)
        if self.mood in ("away", "no link", "silent") or (
            self.mood == "counts nothing" and isinstance(request, TakeLease)
        ):
            raise BackendUnavailable("no answer today")

    async def _aask(self, request: Any = None) -> None:
        if self.mood == "silent":
            await asyncio.Event().wait()
        self._ask(request)

    def read(self, requests: Sequence[ReadRequest]) -> Any:
        self._ask()
        return super().read(requests)

    async def aread(self, requests: Sequence[ReadRequest]) -> Any:
        await self._aask()
        return super().read(requests)

    def control(self, request: Any) -> Any:
        self._ask(request)
        return super().control(request)

    async def acontrol(self, request: Any) -> Any:
        await self._aask(request)
        return super().control(request)

    def upstream(self, sink: Sink) -> Any:
        return self._dead(sink, None) or super().upstream(sink)

    def aupstream(self, sink: Sink) -> Any:
        return self._dead(sink, asyncio.get_running_loop()) or super().aupstream(sink)

    def _dead(self, sink: Sink, loop: asyncio.AbstractEventLoop | None) -> _Dead | None:
        if self.mood == "no link":
            raise BackendUnavailable("no link today")
        return _Dead(self, sink, loop) if self.mood in ("away", "silent") else None


class _Dead(Upstream):
    """A link that nothing arrives on."""

    def __init__(self, broker: Broker, sink: Sink, loop: asyncio.AbstractEventLoop | None) -> None:
        self._broker = broker
        self._sink = sink
        self._loop = loop

    def subscribe(self, channels: Sequence[str]) -> None:
        if self._broker.mood == "away" and self._loop is None:
            self._sink.lost(None, "away")
        elif self._broker.mood == "away" and self._loop is not None:
            self._loop.call_soon(self._sink.lost, None, "away")

    def unsubscribe(self, channels: Sequence[str]) -> None: ...

    def close(self) -> None: ...
