"""Streams pushed from the hub: groups of shared readers, flow control, and everything that can end one, against a
scripted server."""

from __future__ import annotations

import asyncio
import gc
import random
import time
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sse_bridge import Bridge, ByType, Event, Visibility
from sse_bridge.events import Entry
from sse_bridge.streams import Grant, StreamRequest, send_stream, stream_channels
from sse_bridge.streams.writers import stepping
from sse_bridge.wire.sse import SSE
from tests.hub.bare_hub import group_sizes
from tests.support.sse_parser import parse
from tests.support.wait import await_for


class Client:
    """One request as a server runs it: `receive` waits for the client, `send` for room."""

    def __init__(self, bridge: Bridge, channels: Any, request: StreamRequest | None = None, **options: Any) -> None:
        self.messages: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.error: BaseException | None = None
        self.sends_in: set[Any] = set()
        self.blocked = 0
        self.requests = 1  # the messages of its body
        self.cancelled: bool | None = None  # False: to be cancelled when it blocks
        response = stream_channels(bridge, channels, request or StreamRequest(), **options)
        self.task = asyncio.create_task(send_stream(response, self.receive, self.send))

    async def receive(self) -> dict[str, Any]:
        if self.requests:
            self.requests -= 1
            return {"type": "http.request", "body": b"", "more_body": self.requests > 0}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sends_in.add(asyncio.current_task())
        if self.error is not None:
            raise self.error
        self.messages.append(message)
        if not self.room.is_set():
            self.blocked += 1
            if self.cancelled is False:
                self.task.cancel()  # the server goes down at this very moment
            try:
                await self.room.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise

    @property
    def frames(self) -> list[Any]:
        return parse(b"".join(m["body"] for m in self.messages if m["type"] == "http.response.body"))

    @property
    def events(self) -> list[str]:
        return [frame.event for frame in self.frames]

    @property
    def data(self) -> list[str]:
        return [frame.data for frame in self.frames if frame.event == "message"]

    async def opened(self) -> Client:
        await await_for(lambda: "stream.open" in self.events)
        return self

    async def leave(self) -> None:
        self.gone.set()
        await asyncio.wait_for(self.task, 60)


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with Bridge("memory://") as bridge:
        yield bridge
        await await_for(lambda: bridge.loop_hub().readers() == 0 and len(bridge.streams) == 0)


def shared_sizes(bridge: Bridge) -> list[int]:
    return group_sizes(bridge.loop_hub().shared_readers)


async def test_readers_in_the_same_place_get_the_same_bytes(bridge: Bridge) -> None:
    clients = [await Client(bridge, "a").opened() for _ in range(3)]
    await await_for(lambda: shared_sizes(bridge) == [3])
    await bridge.apublish("a", 1)
    await await_for(lambda: all(client.data == ["1"] for client in clients))
    assert len({id(client.messages[-1]["body"]) for client in clients}) == 1
    assert len({id(client.messages[-1]) for client in clients}) == 3  # a server may change its message
    assert all(client.sends_in == {client.task} for client in clients)
    for client in clients:
        await client.leave()


async def test_the_first_page_leaves_with_the_open_frame(bridge: Bridge) -> None:
    first, *_ = [str(await bridge.apublish("a", n)) for n in range(3)]
    client = await Client(bridge, "a", StreamRequest(last_event_id=first)).opened()
    head, piece = client.messages
    assert head["type"] == "http.response.start"
    assert [frame.event for frame in parse(piece["body"])] == ["stream.open", "message", "message"]
    await client.leave()


async def test_different_wishes_are_different_cohorts(bridge: Bridge) -> None:
    clients = [
        Client(bridge, "a"),
        Client(bridge, ["a", "b"]),
        Client(bridge, "a", filter=ByType("x")),
        Client(bridge, "a", filter=ByType("x")),
        Client(bridge, "a", StreamRequest(format="ndjson")),
        Client(bridge, "a", policy="latest_only"),
    ]
    await await_for(lambda: shared_sizes(bridge) == [1, 1, 1, 2])
    await bridge.apublish("a", 1, type="x")
    await await_for(lambda: sum(b"stream.open" not in c.messages[-1]["body"] for c in clients) == 6)
    for client in clients:
        await client.leave()


async def test_a_blocked_client_goes_on_alone_and_comes_back(bridge: Bridge) -> None:
    slow, quick = await Client(bridge, "a").opened(), await Client(bridge, "a").opened()
    await await_for(lambda: shared_sizes(bridge) == [2])
    slow.room.clear()
    for n in range(50):
        await bridge.apublish("a", n)
        await await_for(lambda n=n: quick.data[-1:] == [str(n)])
    assert slow.blocked == 1
    assert shared_sizes(bridge) == [1]
    slow.room.set()
    await await_for(lambda: slow.data == quick.data)
    await await_for(lambda: shared_sizes(bridge) == [2])
    assert [frame.id for frame in slow.frames[1:]] == [frame.id for frame in quick.frames[1:]]
    await slow.leave()
    await quick.leave()


async def test_who_suspends_three_times_in_a_row_is_served_alone_for_a_while(bridge: Bridge) -> None:
    client = await Client(bridge, "a").opened()
    for n in range(3):
        await await_for(lambda: shared_sizes(bridge) == [1])
        client.room.clear()
        await bridge.apublish("a", n)
        await await_for(lambda n=n: client.blocked == n + 1)
        client.room.set()
    await await_for(lambda: client.data == ["0", "1", "2"])
    assert shared_sizes(bridge) == []
    await bridge.apublish("a", 3)
    await await_for(lambda: client.data[-1:] == ["3"] and shared_sizes(bridge) == [1])
    await client.leave()


async def test_a_client_that_leaves_while_blocked_is_noticed(bridge: Bridge) -> None:
    client = await Client(bridge, "a").opened()
    await await_for(lambda: shared_sizes(bridge) == [1])
    client.room.clear()
    await bridge.apublish("a", 1)
    await await_for(lambda: client.blocked == 1)
    await client.leave()


@pytest.mark.parametrize("requests", [0, 1, 2])
async def test_a_client_that_reads_nothing_from_the_start_and_leaves_is_noticed(bridge: Bridge, requests: int) -> None:
    client = Client(bridge, "a")
    client.room.clear()
    client.requests = requests
    await await_for(lambda: client.blocked == 1)
    await client.leave()


async def test_a_client_that_leaves_in_its_cohort_is_noticed(bridge: Bridge) -> None:
    first, second = await Client(bridge, "a").opened(), await Client(bridge, "a").opened()
    await await_for(lambda: shared_sizes(bridge) == [2])
    await first.leave()
    assert shared_sizes(bridge) == [1]
    await bridge.apublish("a", 1)
    await await_for(lambda: second.data == ["1"])
    await second.leave()


async def test_a_send_that_fails_ends_only_its_own_stream(bridge: Bridge) -> None:
    broken, gone, well = [await Client(bridge, "a").opened() for _ in range(3)]
    await await_for(lambda: shared_sizes(bridge) == [3])
    broken.error, gone.error = ZeroDivisionError("a bug in a wrapper"), OSError("the client is gone")
    await bridge.apublish("a", 1)
    await await_for(lambda: well.data == ["1"] and broken.task.done() and gone.task.done())
    with pytest.raises(ZeroDivisionError):
        await broken.task
    await gone.task
    await well.leave()


async def test_a_cancelled_request_gives_everything_back(bridge: Bridge) -> None:
    client = await Client(bridge, "a").opened()
    await await_for(lambda: shared_sizes(bridge) == [1])
    client.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client.task
    blocked = await Client(bridge, "a").opened()
    await await_for(lambda: shared_sizes(bridge) == [1])
    blocked.room.clear()
    await bridge.apublish("a", 1)
    await await_for(lambda: blocked.blocked == 1)
    blocked.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await blocked.task


async def test_a_frame_that_cannot_be_made_ends_the_streams_and_leaves_no_hole(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = SSE.body

    def failing(self: SSE, channel: str, entry: Entry) -> bytes:
        if b"bad" in entry.data:
            raise ZeroDivisionError
        return body(self, channel, entry)

    monkeypatch.setattr(SSE, "body", failing)
    clients = [await Client(bridge, "a").opened() for _ in range(2)]
    await await_for(lambda: shared_sizes(bridge) == [2])
    await bridge.apublish("a", "good")
    await bridge.apublish("a", "bad")
    await bridge.apublish("a", "never")
    for client in clients:
        await asyncio.wait_for(client.task, 60)
        assert client.data in ([], ['"good"'])


async def test_a_cancel_reaches_a_send_that_the_hub_began(bridge: Bridge) -> None:
    client = await Client(bridge, "a").opened()
    await await_for(lambda: shared_sizes(bridge) == [1])
    client.room.clear()
    client.cancelled = False
    await bridge.apublish("a", 1)
    with pytest.raises(asyncio.CancelledError):
        await client.task
    assert client.cancelled
    hub = bridge.loop_hub()
    assert (hub.readers(), len(hub.alarms)) == (0, 0), "armed again while it was closed"


async def test_without_asyncios_private_parts_every_task_writes_by_itself(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "_enter_task", None)
    clients = [await Client(bridge, "a").opened() for _ in range(2)]
    for n in range(6):
        await bridge.apublish("a", n)
        await await_for(lambda n=n: all(client.data[-1:] == [str(n)] for client in clients))
    assert all(client.data == list("012345") for client in clients)
    assert all(client.sends_in == {client.task} for client in clients)
    for client in clients:
        await client.leave()


async def test_the_end_of_the_channel_ends_the_cohort(bridge: Bridge) -> None:
    clients = [await Client(bridge, "a").opened() for _ in range(3)]
    await await_for(lambda: shared_sizes(bridge) == [3])
    await bridge.aclose_channel("a")
    for client in clients:
        await asyncio.wait_for(client.task, 60)
        assert client.events == ["stream.open", "stream.end"]
        assert client.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_closing_the_bridge_ends_the_streams() -> None:
    bridge = Bridge("memory://")
    clients = [await Client(bridge, "a").opened() for _ in range(2)]
    await await_for(lambda: shared_sizes(bridge) == [2])
    await bridge.aclose()
    for client in clients:
        await asyncio.wait_for(client.task, 60)


async def test_heartbeats_and_positions_in_a_cohort() -> None:
    async with Bridge("memory://", heartbeat_seconds=0.1) as bridge:
        client = await Client(bridge, "a").opened()
        await await_for(lambda: shared_sizes(bridge) == [1])
        await await_for(lambda: client.messages[-1]["body"] == b":\n")
        hidden = await bridge.apublish("a", 1, visibility="internal_only")
        await await_for(lambda: client.events[-1] == "stream.position")
        assert client.frames[-1].id == str(hidden)
        count = len(client.frames)
        await await_for(lambda: client.messages[-1]["body"] == b":\n")
        assert len(client.frames) == count
        await bridge.apublish("a", 2)
        await await_for(lambda: client.data == ["2"])
        await await_for(lambda: client.messages[-1]["body"] == b":\n")
        assert client.events.count("stream.position") == 1
        assert shared_sizes(bridge) == [1]
        await client.leave()


async def test_what_was_hidden_after_the_last_event_is_told_too() -> None:
    async with Bridge("memory://", heartbeat_seconds=0.1) as bridge:
        client = await Client(bridge, "a").opened()
        await await_for(lambda: shared_sizes(bridge) == [1])
        for _ in range(3):
            await bridge.apublish("a", 0, visibility="internal_only")
            await await_for(lambda: client.events[-1] == "stream.position")
            events = [Event("a", 1), Event("a", 2, visibility=Visibility.INTERNAL_ONLY)]
            _, hidden = await bridge.apublish_many(events)
            await await_for(lambda hidden=hidden: client.frames[-1].id == str(hidden))
        await client.leave()


async def test_who_lags_behind_its_cohort_in_hidden_entries_is_told_too() -> None:
    async with Bridge("memory://", heartbeat_seconds=0.1, replay_size=8) as bridge:  # so that two hidden ones are told
        first = await Client(bridge, "a").opened()
        await await_for(lambda: shared_sizes(bridge) == [1])
        one, two = [await bridge.apublish("a", n, visibility="internal_only") for n in range(2)]
        await await_for(lambda: first.frames[-1].id == str(two))
        second = await Client(bridge, "a", StreamRequest(last_event_id=str(one))).opened()
        await await_for(lambda: shared_sizes(bridge) == [2])
        await await_for(lambda: second.frames[-1].id == str(two))
        await first.leave()
        await second.leave()


async def test_a_cohort_keeps_nothing_of_who_left_it(bridge: Bridge) -> None:
    first = await Client(bridge, "a").opened()
    await await_for(lambda: shared_sizes(bridge) == [1])
    (stream,) = map(weakref.ref, bridge.streams._streams)
    second = await Client(bridge, "a").opened()
    await await_for(lambda: shared_sizes(bridge) == [2])
    await first.leave()
    del first
    gc.collect()
    assert stream() is None
    await second.leave()


async def test_lifetime_expiry_and_drain_in_a_cohort() -> None:
    async with Bridge("memory://", max_stream_seconds=1) as bridge:
        client = await Client(bridge, "a").opened()
        await asyncio.wait_for(client.task, 60)
        assert client.events[-1] == "stream.close"
        assert client.frames[-1].data == '{"reason":"lifetime"}'
    async with Bridge("memory://") as bridge:
        staying, leaving = await Client(bridge, "a").opened(), Client(bridge, "a", grant=Grant("u", time.time() + 1))
        await asyncio.wait_for(leaving.task, 60)
        assert leaving.frames[-1].data == '{"reason":"expired"}'
        bridge.streams.begin_drain(0.0)
        await asyncio.wait_for(staying.task, 60)
        assert staying.frames[-1].data == '{"reason":"drain"}'
        late = Client(bridge, "a")
        await asyncio.wait_for(late.task, 60)
        assert late.events == ["stream.open", "stream.close"]


@pytest.mark.parametrize("seed", range(8))
async def test_random_room_loses_and_doubles_nothing(seed: int) -> None:
    chance = random.Random(seed)
    async with Bridge("memory://", window_bytes=8192, replay_size=10_000) as bridge:
        clients = [await Client(bridge, ["a", "b"]).opened() for _ in range(6)]
        published = {"a": 0, "b": 0}
        for _ in range(400):
            channel = chance.choice("ab")
            published[channel] += 1
            await bridge.apublish(channel, f"{channel}{published[channel]}" + "x" * chance.choice([0, 0, 300]))
            client = chance.choice(clients)
            client.room.clear() if chance.random() < 0.4 else client.room.set()
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
        for client in clients:
            client.room.set()
        for client in clients:
            await await_for(lambda client=client: len(client.data) >= 400)
            for channel in "ab":
                mine = [text.strip('"').rstrip("x") for text in client.data if text.startswith(f'"{channel}')]
                assert mine == [f"{channel}{n}" for n in range(1, published[channel] + 1)]
            assert "stream.gap" not in client.events
            await client.leave()


async def test_a_cohort_tells_its_position_after_many_hidden_entries() -> None:
    async with Bridge("memory://", replay_size=40) as bridge:
        client = await Client(bridge, "a").opened()
        await await_for(lambda: shared_sizes(bridge) == [1])
        positions = [await bridge.apublish("a", n, visibility="model_only") for n in range(12)]
        await await_for(lambda: client.events[-1] == "stream.position")
        assert client.frames[-1].id in [str(position) for position in positions[9:]]
        assert shared_sizes(bridge) == [1]
        await client.leave()
