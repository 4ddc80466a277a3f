"""One test body for both colours: a backend used from threads, or from coroutines, behind the same coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sse_bridge.backends.base import Append, Appended, NewEntry, Upstream, pages_of
from sse_bridge.errors import BackendUnavailable, SSEBridgeError
from sse_bridge.events import Entry, Visibility, new_token
from sse_bridge.records.codec import Announcement, record_head
from sse_bridge.records.continuity import Page, ReadRequest
from tests.support.wait import await_for

COLOURS = ("threads", "asyncio")


class Recorder:
    """A sink that keeps what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []  # ("confirmed", channel), ("lost", channels), ("announced", (channel, …))
        self.entries: list[tuple[str, Entry]] = []
        self.flushes = 0

    def announced(self, channel: str, announcement: Announcement | None) -> None:
        self.told.append(("announced", (channel, announcement)))
        if announcement is not None:
            self.entries += [(channel, entry) for entry in announcement.entries]

    def confirmed(self, channel: str) -> None:
        self.told.append(("confirmed", channel))

    def lost(self, channels: Sequence[str] | None, why: str, error: SSEBridgeError | None = None) -> None:
        self.told.append(("lost", channels))
        if error is not None:
            self.told.append(("refused", error))

    def flush(self) -> None:
        self.flushes += 1

    def confirmations(self, channel: str) -> int:
        return self.told.count(("confirmed", channel))

    def losses(self, channel: str) -> int:
        return sum(1 for kind, what in self.told if kind == "lost" and (what is None or channel in what))

    def data(self, channel: str) -> list[bytes]:
        return [entry.data for name, entry in list(self.entries) if name == channel]

    def offsets(self, channel: str) -> list[int]:
        return [entry.offset for name, entry in list(self.entries) if name == channel]


class Side:
    """A backend in one colour."""

    def __init__(self, backend: Any, colour: str) -> None:
        self.backend = backend
        self.colour = colour
        self._upstreams: list[Upstream] = []

    async def append(self, batch: Append) -> Appended:
        if self.colour == "asyncio":
            return await self.backend.aappend(batch)  # type: ignore[no-any-return]
        return await asyncio.to_thread(self.backend.append, batch)

    async def publish(self, channel: str, *data: bytes, **options: Any) -> Appended:
        return await self.append(batch(channel, *data, **options))

    async def outcomes(self, *requests: ReadRequest) -> list[Page | SSEBridgeError]:
        if self.colour == "asyncio":
            return await self.backend.aread(requests)  # type: ignore[no-any-return]
        return await asyncio.to_thread(self.backend.read, requests)

    async def read(self, *requests: ReadRequest) -> list[Page]:
        return pages_of(await self.outcomes(*requests))

    async def page(self, channel: str, **options: Any) -> Page:
        return (await self.read(ReadRequest(channel, **options)))[0]

    def upstream(self, sink: Recorder) -> Upstream:
        upstream: Upstream
        if self.colour == "asyncio":
            upstream = self.backend.aupstream(sink)
        else:
            upstream = self.backend.upstream(sink)
        self._upstreams.append(upstream)
        return upstream

    async def close(self) -> None:
        for upstream in self._upstreams:
            await asyncio.to_thread(upstream.close) if self.colour == "threads" else upstream.close()
        await self.backend.aclose()


async def published_again(side: Side, channel: str, *data: bytes) -> Appended:
    """Publishes as soon as the server, which was away for a deadline, is found to be back."""

    async def attempt() -> Appended | None:
        try:
            return await side.publish(channel, *data)
        except BackendUnavailable:
            return None

    return await await_for(attempt, what="a server that is back")


async def append_each(side: Side, batches: Sequence[Append]) -> list[Any]:
    """In one round trip; what became of each."""
    if side.colour == "threads":
        return await asyncio.to_thread(side.backend.append_many, batches)
    return await asyncio.gather(*[side.backend.aappend(batch) for batch in batches], return_exceptions=True)


def batch(channel: str, *data: bytes, **options: Any) -> Append:
    """One append of `data`, each an entry of its own with a new check."""
    head = record_head(Visibility.USER_FACING, "J", "order.paid")
    return Append(channel, tuple(NewEntry(new_token(), head, item) for item in data), **options)


def datas(page: Page) -> list[bytes]:
    return [entry.data for entry in page.entries]


def offsets(page: Page) -> list[int]:
    return [entry.offset for entry in page.entries]
