"""Three flows through the project, on its ASGI app behind uvicorn's protocol and real sockets, over the memory backend.

Server, bridge and clients share one event loop, so the steps of a flow have one order. A flow is measured from a cause to
the bytes that clients have, and until no step follows them. The loop's clock stands still meanwhile: a timer, such as the
hub's once a second, would otherwise belong to a flow or not, or come between two flows, by chance.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import uvicorn
from uvicorn.server import ServerState

from sse_bridge import Bridge
from sse_bridge.streams import Grant
from sse_bridge_asgi import EventStreamApp
from tests.house.tracing import Step, Trace
from tests.support.process import ROOT
from tests.support.source_tree import packages
from tests.support.wait import await_for

CHANNEL, USER, READERS = "orders", "ada", 3
SECONDS = 60.0  # the longest that a client waits for its bytes
TURNS = 50  # of the loop, without a step, after which a flow is over
LAST_CHUNK = b"\r\n0\r\n\r\n"  # RFC 9112, 7.1: the end of the response


class Flows(NamedTuple):
    """The steps of one round.

    Attributes:
        opening: From a request with a Last-Event-ID and a user until it stands at the head, one event behind it.
        revocation: From `arevoke` until that user's only stream has ended.
        publishing: The part of an event's way to three readers that runs within `apublish`.
        reading: The part that runs behind it.
    """

    opening: list[Step]
    revocation: list[Step]
    publishing: list[Step]
    reading: list[Step]


class Client:
    """A connection of HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def request(self, last_event_id: str | None) -> None:
        head = f"GET /?channel={CHANNEL} HTTP/1.1\r\nHost: testserver\r\nAccept: text/event-stream\r\n"
        resumed = "" if last_event_id is None else f"Last-Event-ID: {last_event_id}\r\n"
        self._writer.write(f"{head}{resumed}\r\n".encode())

    async def until(self, part: bytes) -> None:
        await self._reader.readuntil(part)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Site:
    """A bridge, and the app behind a server."""

    def __init__(self, bridge: Bridge, address: tuple[str, int]) -> None:
        self.bridge = bridge
        self._address = address

    @asynccontextmanager
    async def clients(self, count: int) -> AsyncIterator[list[Client]]:
        """Connected, and nothing is asked yet."""
        clients = [Client(*await asyncio.open_connection(*self._address)) for _ in range(count)]
        try:
            await quiet(lambda: 0)
            yield clients
        finally:
            for client in clients:
                await client.close()
            await await_for(lambda: not len(self.bridge.streams), what="every stream given back")


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    async def authorize(scope: Any, channels: tuple[str, ...]) -> Grant:
        return Grant(user=USER)

    async with Bridge("memory://", linger_seconds=0.0) as bridge:
        config = uvicorn.Config(
            EventStreamApp(bridge, authorize=authorize), http="h11", ws="none", lifespan="off", log_config=None
        )
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),  # type: ignore[call-arg]
            "127.0.0.1",
            0,
        )
        try:
            yield Site(bridge, server.sockets[0].getsockname())
        finally:
            server.close()
            if state.tasks:
                await asyncio.wait(state.tasks, timeout=SECONDS)


async def quiet(count: Callable[[], int]) -> None:
    """Returns when `count` stayed the same for so many turns of the loop, each of which looks at the sockets too."""
    before, left = count(), TURNS
    while left:
        await asyncio.sleep(0)
        now = count()
        before, left = now, TURNS if now != before else left - 1


@contextmanager
def undisturbed() -> Iterator[None]:
    """No timer of the loop fires, and the garbage collector runs no finalizer."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    gc.collect()
    gc.disable()
    loop.time = lambda: now  # type: ignore[method-assign]
    try:
        yield
    finally:
        del loop.time
        gc.enable()


async def there(effect: Awaitable[object], steps: list[Step]) -> None:
    """Waits without a timer of the loop."""
    awaited = asyncio.ensure_future(effect)
    until = time.monotonic() + SECONDS
    while not awaited.done():
        assert time.monotonic() < until, f"no effect within {SECONDS} s; the last steps: {steps[-5:]}"
        await asyncio.sleep(0)
    awaited.result()


async def traced(cause: Callable[[], Awaitable[object]], effect: Awaitable[object]) -> list[list[Step]]:
    """The steps while `cause` runs, and those after it: until `effect` is there and no step follows."""
    with Trace(ROOT, packages()) as trace:
        await cause()
        caused = len(trace.steps)
        await there(effect, trace.steps)
        await quiet(lambda: len(trace.steps))
    return [trace.steps[:caused], trace.steps[caused:]]


async def opening_and_revocation() -> list[list[Step]]:
    """A process that nobody reads in yet: its first request, and that stream's end."""
    async with site() as served, served.clients(1) as [client]:
        with undisturbed():
            seen = str(await served.bridge.apublish(CHANNEL, "first"))
            await served.bridge.apublish(CHANNEL, "second")

            async def request() -> None:
                client.request(seen)

            opening = await traced(request, client.until(b"second"))
            revocation = await traced(lambda: served.bridge.arevoke(user=USER), client.until(LAST_CHUNK))
    return [[*opening[0], *opening[1]], [*revocation[0], *revocation[1]]]


async def event() -> list[list[Step]]:
    """To readers that have had one before."""
    async with site() as served, served.clients(READERS) as clients:

        async def arrived(part: bytes) -> None:
            for client in clients:
                await client.until(part)

        async def requests() -> None:
            for client in clients:
                client.request(None)

        with undisturbed():
            await traced(requests, arrived(b"stream.open"))
            await traced(lambda: served.bridge.apublish(CHANNEL, "first"), arrived(b"first"))
            return await traced(lambda: served.bridge.apublish(CHANNEL, "second"), arrived(b"second"))


async def one_round() -> Flows:
    return Flows(*await opening_and_revocation(), *await event())


def measure(rounds: int = 1) -> list[Flows]:
    """Equal rounds, each on a loop of its own; one before them imports and fills caches, and is not among them."""
    return [asyncio.run(one_round()) for _ in range(rounds + 1)][1:]
