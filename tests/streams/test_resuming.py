"""Clients that come back together: each has what it would have by itself, whatever becomes of its first write."""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sse_bridge import Bridge, ByType
from sse_bridge.hub import loop
from sse_bridge.hub.resumption import find_resumption
from sse_bridge.streams import Grant, StreamRequest
from sse_bridge.streams.http import compression
from sse_bridge.wire.sse import SSE
from tests.streams.test_pushing import Client, shared_sizes
from tests.support.wait import await_for


class Returning(Client):
    """A client that comes back with an id.

    Attributes:
        waits_at: the type of the message that its connection has no room for.
        meanwhile: what happens while its first piece of the body is sent.
    """

    def __init__(self, bridge: Bridge, id: str, **options: Any) -> None:
        self.waits_at: str | None = options.pop("waits_at", None)
        self.meanwhile: Callable[[], None] | None = options.pop("meanwhile", None)
        encoding = options.pop("accept_encoding", None)
        super().__init__(bridge, "a", StreamRequest(last_event_id=id, accept_encoding=encoding), **options)

    async def send(self, message: Any) -> None:
        if message["type"] == self.waits_at:
            self.waits_at = None
            self.room.clear()
        if message["type"] == "http.response.body" and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        await super().send(message)


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with Bridge("memory://") as bridge:
        yield bridge
        await await_for(lambda: bridge.loop_hub().readers() == 0 and len(bridge.streams) == 0)


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each stream that might have: whether it resumed with others."""
    asked: list[bool] = []

    def counting(*arguments: Any) -> Any:
        found = find_resumption(*arguments)
        asked.append(found is not None)
        return found

    monkeypatch.setattr(loop, "find_resumption", counting)
    return asked


async def started(bridge: Bridge) -> tuple[Client, list[str]]:
    """A client that has got five events, and its ids."""
    client = await Client(bridge, "a").opened()
    for n in range(5):
        await bridge.apublish("a", n)
    await await_for(lambda: len(client.data) == 5 and shared_sizes(bridge) == [1])
    return client, [frame.id for frame in client.frames]


async def test_they_get_the_same_bytes_with_a_retry_of_their_own(bridge: Bridge, resumed: list[bool]) -> None:
    first, ids = await started(bridge)
    back: list[Client] = [Returning(bridge, ids[3]) for _ in range(20)]
    await await_for(lambda: shared_sizes(bridge) == [21])
    assert resumed == [False, *20 * [True]]
    assert bridge.loop_hub().readers() == 21
    for client in back:
        assert client.data == ["3", "4"]
        assert client.frames[0].id == ids[3]
    bodies = [client.messages[1]["body"] for client in back]
    assert len(set(bodies)) > 10
    assert len({re.sub(rb"retry: \d+", b"", body) for body in bodies}) == 1
    await bridge.apublish("a", 5)
    await await_for(lambda: all(client.data == ["3", "4", "5"] for client in back))
    for client in [first, *back]:
        await client.leave()


async def test_without_an_id_each_begins_at_the_top_of_its_own_moment(bridge: Bridge, resumed: list[bool]) -> None:
    first, _ = await started(bridge)
    clients = []
    for n in range(5, 8):
        clients.append(await Client(bridge, "a").opened())
        await bridge.apublish("a", n)
    await await_for(lambda: [client.data for client in clients] == [["5", "6", "7"], ["6", "7"], ["7"]])
    assert resumed == 4 * [False]
    for client in [first, *clients]:
        await client.leave()


@pytest.mark.parametrize("waits_at", ["http.response.start", "http.response.body"])
async def test_whose_first_write_waits_misses_nothing(bridge: Bridge, resumed: list[bool], waits_at: str) -> None:
    first, ids = await started(bridge)
    slow = Returning(bridge, ids[3], waits_at=waits_at)
    await await_for(lambda: slow.blocked == 1)
    assert resumed[-1]
    for n in range(5, 8):
        await bridge.apublish("a", n)
    await await_for(lambda: len(first.data) == 8)
    assert shared_sizes(bridge) == [1]
    slow.room.set()
    await await_for(lambda: slow.data == ["3", "4", "5", "6", "7"] and shared_sizes(bridge) == [2])
    assert [frame.id for frame in slow.frames[1:]] == [frame.id for frame in first.frames[4:]]
    for client in (first, slow):
        await client.leave()


@pytest.mark.parametrize("waits_at", ["http.response.start", "http.response.body"])
async def test_who_leaves_during_its_first_write_is_noticed(bridge: Bridge, waits_at: str) -> None:
    first, ids = await started(bridge)
    slow = Returning(bridge, ids[3], waits_at=waits_at)
    await await_for(lambda: slow.blocked == 1)
    await slow.leave()
    await first.leave()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_whose_first_write_fails_is_alone_with_that(bridge: Bridge, cancelled: bool) -> None:
    first, ids = await started(bridge)
    broken, gone, well = [Returning(bridge, ids[3]) for _ in range(3)]
    broken.error, gone.error = asyncio.CancelledError() if cancelled else ZeroDivisionError("a bug"), OSError("gone")
    with pytest.raises(asyncio.CancelledError if cancelled else ZeroDivisionError):
        await broken.task
    await gone.task
    await bridge.apublish("a", 5)
    await await_for(lambda: well.data == ["3", "4", "5"] and shared_sizes(bridge) == [2])
    await first.leave()
    await well.leave()


async def test_what_comes_during_the_first_write_comes_once(bridge: Bridge, resumed: list[bool]) -> None:
    first, ids = await started(bridge)

    def publish() -> None:
        bridge.loop_hub().state.announced("a", None)  # the log may hold more than anyone knows

    client = Returning(bridge, ids[3], meanwhile=publish)
    await await_for(lambda: client.data == ["3", "4"])
    assert resumed[-1]
    await bridge.apublish("a", 5)
    await await_for(lambda: client.data == ["3", "4", "5"] and shared_sizes(bridge) == [2])
    for each in (first, client):
        await each.leave()


async def test_a_bridge_that_is_closed_during_the_first_write_ends_it(bridge: Bridge) -> None:
    first, ids = await started(bridge)
    client = Returning(bridge, ids[3], meanwhile=bridge.loop_hub().close)
    await asyncio.wait_for(asyncio.gather(first.task, client.task), 60)
    assert client.data == ["3", "4"]


@pytest.mark.parametrize("together", [True, False], ids=["who resume", "who take the long way"])
async def test_each_has_a_coding_of_its_own_and_what_all_get_is_compressed_once(
    monkeypatch: pytest.MonkeyPatch, resumed: list[bool], together: bool
) -> None:
    compression._shared_blocks.cache_clear()
    compressed: list[bytes] = []
    deflate = compression._deflate
    monkeypatch.setattr(compression, "_deflate", lambda data, level: compressed.append(data) or deflate(data, level))
    if not together:
        monkeypatch.setattr(loop, "find_resumption", lambda *_: None)
    async with Bridge("memory://", compression="gzip", compression_threshold_bytes=150) as bridge:
        first, ids = await started(bridge)
        back = [Returning(bridge, ids[1], accept_encoding="gzip") for _ in range(3)]
        await await_for(lambda: shared_sizes(bridge) == [4])
        assert resumed == ([False, True, True, True] if together else [])
        for client in (first, *back):
            await client.leave()
        for client in back:
            body = b"".join(message["body"] for message in client.messages[1:])
            assert zlib.decompressobj(31).decompress(body).count(b"data: ") == 5
    [page] = compressed
    assert page.count(b"data: ") == 4


async def test_who_is_to_end_at_once_takes_the_long_way(bridge: Bridge, resumed: list[bool]) -> None:
    first, ids = await started(bridge)
    expired = Returning(bridge, ids[3], grant=Grant(expires_at=time.time() + 0.2))
    await asyncio.wait_for(expired.task, 60)
    bridge.streams.draining = True
    drained = Returning(bridge, ids[3])
    await asyncio.wait_for(drained.task, 60)
    assert drained.data == []
    assert resumed == [False]
    await first.leave()


async def test_whose_user_is_counted_takes_the_long_way(resumed: list[bool]) -> None:
    async with Bridge("memory://", max_streams_per_user=1, over_limit="reject") as bridge:
        first, ids = await started(bridge)
        ann, bob = [Returning(bridge, ids[3], grant=Grant(user=user)) for user in ("ann", "bob")]
        await await_for(lambda: shared_sizes(bridge) == [3])
        too_many = Returning(bridge, ids[3], grant=Grant(user="ann"))
        await asyncio.wait_for(too_many.task, 60)
        assert too_many.messages[0]["status"] == 429
        assert resumed == [False]
        for client in (first, ann, bob):
            await client.leave()


async def test_who_is_revoked_resumes_no_more(bridge: Bridge, resumed: list[bool]) -> None:
    first, ids = await started(bridge)
    ann, bob = [Returning(bridge, ids[3], grant=Grant(user=user)) for user in ("ann", "bob")]
    await await_for(lambda: shared_sizes(bridge) == [3])
    await bridge.arevoke(user="ann", seconds=60)
    await asyncio.wait_for(ann.task, 60)
    assert ann.events[-1] == "stream.close"
    carol = Returning(bridge, ids[3], grant=Grant(user="carol"))
    await await_for(lambda: shared_sizes(bridge) == [3])
    assert resumed[-1]
    for client in (first, bob, carol):
        await client.leave()


async def test_a_frame_that_cannot_be_made_ends_them_where_it_would(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, ids = await started(bridge)

    def failing(*_: Any) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(SSE, "body", failing)
    bridge.loop_hub().state.cache.clear()
    for feed in bridge.loop_hub().state.feeds.values():
        assert feed.window is not None
        for entry in feed.window.items.since(feed.window.first_serial):
            entry.bodies = None
    client = Returning(bridge, ids[3])
    with pytest.raises(ZeroDivisionError):
        await client.task
    assert client.events == ["stream.open"]
    await first.leave()


async def test_what_was_hidden_is_told_by_the_heartbeat() -> None:
    async with Bridge("memory://", heartbeat_seconds=0.5) as bridge:
        orders = ByType("order")
        first = await Client(bridge, "a", filter=orders).opened()
        await await_for(lambda: shared_sizes(bridge) == [1])
        await bridge.apublish("a", 1, type="order")
        for n in range(3):
            await bridge.apublish("a", n, type="other")
        await await_for(lambda: any(frame.event == "order" for frame in first.frames))
        back = [Returning(bridge, first.frames[0].id, filter=orders) for _ in range(2)]
        await await_for(lambda: shared_sizes(bridge) == [3])
        head = bridge.loop_hub().shared_readers.members()[0].follower.id().decode()
        await await_for(lambda: all(client.frames[-1].id == head for client in back))
        for client in (first, *back):
            await client.leave()
