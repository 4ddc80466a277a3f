"""How concurrent appends of one loop share round trips: against a client that answers when the test says so."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from sse_bridge.backends.redis.aio_publisher import TRIPS, Publisher, _Waiting
from sse_bridge.backends.redis.calls import AppendCall
from sse_bridge.backends.redis.keys import Keys
from sse_bridge.backends.redis.scripts import Codec
from sse_bridge.errors import BackendUnavailable, PublishUncertain
from tests.backends.sides import batch
from tests.support.wait import await_for


class Redis:
    """Round trips that wait for the test."""

    def __init__(self) -> None:
        self.routes = SimpleNamespace(address=lambda channel: None)
        self.trips: list[list[AppendCall]] = []
        self._ends: list[asyncio.Future[None]] = []

    async def run(self, calls: Sequence[AppendCall], timeout: float) -> None:
        self.trips.append(list(calls))
        end = asyncio.get_running_loop().create_future()
        self._ends.append(end)
        await end

    async def flying(self, *trips: list[str]) -> None:
        await await_for(lambda: len(self.trips) >= len(trips))
        assert [[call.channel for call in trip] for trip in self.trips] == list(trips)

    def answer(self, trip: int, channel: str, last: int) -> None:
        call = next(call for call in self.trips[trip] if call.channel == channel)
        before = last - len(call.batch.entries)
        call.replied(b"EPOCH001 1790000000 1790000000 Check123 %d" % before, ("127.0.0.1", 1))

    def end(self, trip: int, error: Exception | None = None) -> None:
        end = self._ends[trip]
        end.set_exception(error) if error else end.set_result(None)


@pytest.fixture
def server() -> Redis:
    return Redis()


@pytest.fixture
async def publisher(server: Redis) -> Publisher:
    client: Any = server
    return Publisher(client, Codec(Keys("test", 0), 100, 60.0, sharded=False), timeout=5.0)


async def test_an_answer_is_handed_out_when_it_arrives(server: Redis, publisher: Publisher) -> None:
    first, second = publisher.submit(batch("a", b"1")), publisher.submit(batch("b", b"1"))
    await server.flying(["a", "b"])
    server.answer(0, "a", 7)
    assert (await asyncio.wait_for(first, 60)).last == 7
    assert not second.done()
    server.answer(0, "b", 1)
    server.end(0)
    assert (await asyncio.wait_for(second, 60)).last == 1


async def test_the_next_flies_while_others_are_in_flight(server: Redis, publisher: Publisher) -> None:
    futures = [publisher.submit(batch("a", b"1")), publisher.submit(batch("b", b"1"))]
    await server.flying(["a", "b"])
    futures.append(publisher.submit(batch("c", b"1")))
    await server.flying(["a", "b"], ["c"])
    assert TRIPS == 2
    server.answer(0, "a", 1)
    again = publisher.submit(batch("a", b"2"))
    server.answer(0, "b", 1)
    server.end(0)
    await server.flying(["a", "b"], ["c"], ["a"])
    server.answer(1, "c", 1)
    server.end(1)
    server.answer(2, "a", 2)
    server.end(2)
    assert [(await asyncio.wait_for(each, 60)).last for each in (*futures, again)] == [1, 1, 1, 2]


async def test_a_channel_is_never_in_two_flights(server: Redis, publisher: Publisher) -> None:
    first = publisher.submit(batch("a", b"1"))
    await server.flying(["a"])
    waiting = [publisher.submit(batch("a", b"2")), publisher.submit(batch("a", b"3"))]
    other = publisher.submit(batch("b", b"1"))
    await server.flying(["a"], ["b"])
    server.answer(1, "b", 1)
    server.end(1)
    await asyncio.wait_for(other, 60)
    server.answer(0, "a", 1)
    server.end(0)
    await server.flying(["a"], ["b"], ["a"])
    server.answer(2, "a", 3)
    server.end(2)
    assert (await asyncio.wait_for(first, 60)).last == 1
    assert [(await asyncio.wait_for(each, 60)).last for each in waiting] == [2, 3], "two that waited travelled as one"


async def test_a_round_trip_that_fails_leaves_nobody_waiting(
    server: Redis, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    answered, lost = publisher.submit(batch("a", b"1")), publisher.submit(batch("b", b"1"))
    await server.flying(["a", "b"])
    behind = publisher.submit(batch("b", b"2"))
    server.answer(0, "a", 1)
    server.end(0, RuntimeError("a bug"))
    assert (await asyncio.wait_for(answered, 60)).last == 1
    with pytest.raises(PublishUncertain, match="a bug"):
        await asyncio.wait_for(lost, 60)
    assert "publishing failed" in caplog.text
    await server.flying(["a", "b"], ["b"])
    server.trips[1][0].fail(BackendUnavailable("not today"))
    server.end(1)
    with pytest.raises(BackendUnavailable):
        await asyncio.wait_for(behind, 60)


async def test_an_eager_task_that_is_over_at_once_takes_no_trip(publisher: Publisher) -> None:
    """As under `asyncio.eager_task_factory` (3.12), where nobody waits any more for what was queued."""
    loop = asyncio.get_running_loop()

    def create_task(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Future[None]:
        with pytest.raises(StopIteration):
            coroutine.send(None)
        over = loop.create_future()
        over.set_result(None)
        return over

    given_up = loop.create_future()
    given_up.cancel()
    eager: Any = SimpleNamespace(create_task=create_task)
    publisher._loop = eager
    publisher._queues["a"] = deque([_Waiting(batch("a", b"1"), given_up, time.monotonic())])
    publisher._make_ready("a")
    assert [server.tasks for server in publisher._servers.values()] == [set()]
