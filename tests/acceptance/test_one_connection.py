"""A thousand readers of one process cost Redis one connection, and a publish from sync code costs no thread and no loop."""

from __future__ import annotations

import asyncio
import resource
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from sse_bridge import Bridge
from sse_bridge.streams import StreamRequest, stream_channels
from tests.support.redis_server import RedisServer
from tests.support.requires import needs_redis7
from tests.support.servers import Server, serve
from tests.support.wait import await_for

pytestmark = needs_redis7

READERS = 1000
CHANNELS = [f"channel-{number}" for number in range(10)]


def pubsub_connections(server: RedisServer) -> list[dict[str, str]]:
    with redis.Redis.from_url(server.url) as client:
        return [link for link in client.client_list() if int(link["sub"]) + int(link["psub"]) > 0]


class Client:
    """A socket that reads a stream, and as little else as possible."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, server: Server, channel: str) -> Client:
        client = cls(*await asyncio.open_connection(server.host, server.port))
        client._writer.write(f"GET /events?channel={channel} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        return client

    async def until(self, text: bytes) -> None:
        await asyncio.wait_for(self._reader.readuntil(text), 60)

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def clients(server: Server) -> AsyncIterator[list[Client]]:
    """All of them connected, and told so by the first frame."""
    found: list[Client] = []
    try:
        for first in range(0, READERS, 100):  # a server's queue of connections is not endless
            some = [await Client.connect(server, CHANNELS[n % len(CHANNELS)]) for n in range(first, first + 100)]
            found += some
            await asyncio.gather(*[client.until(b"event: stream.open") for client in some])
        yield found
    finally:
        for client in found:
            client.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    """A thousand sockets on each side need more than the usual 1,024; the server inherits it."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize(
    ("kind", "app", "arguments"),
    [
        ("uvicorn", "tests.acceptance.asgi_site:app", ()),
        ("gunicorn-gevent", "tests.acceptance.flask_site:app", ("--worker-connections", "1100")),
    ],
)
async def test_a_thousand_sockets(
    private_redis: Callable[..., RedisServer], kind: str, app: str, arguments: tuple[str, ...]
) -> None:
    server_of_log = private_redis()
    with serve(kind, app, env={"SSE_BRIDGE_URL": server_of_log.url}, arguments=arguments) as server:
        async with clients(server) as connected, Bridge(server_of_log.url) as bridge:
            assert len(connected) == READERS
            assert len(pubsub_connections(server_of_log)) == 1
            for channel in CHANNELS:
                await bridge.apublish(channel, "the last")
            await asyncio.gather(*[client.until(b'data: "the last"\n\n') for client in connected])
            (link,) = pubsub_connections(server_of_log)
            assert int(link["sub"]) == len(CHANNELS) + 1  # and the control channel: who is revoked


async def test_two_hundred_publishes_from_a_thread_beside_a_thousand_readers(
    private_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = private_redis()
    async with Bridge(server.url) as bridge:
        streams = [
            stream_channels(bridge, CHANNELS[number % len(CHANNELS)], StreamRequest()) for number in range(READERS)
        ]
        bodies = [stream.bodies.async_body() for stream in streams if stream.bodies is not None]
        for opening in await asyncio.gather(*[anext_of(body) for body in bodies]):
            assert b"event: stream.open\n" in opening

        begin, ended = threading.Event(), threading.Event()
        made: list[str] = []
        threads: list[set[threading.Thread]] = []
        publisher = threading.Thread(target=publish_200, args=(bridge, begin, ended, made, threads))
        publisher.start()
        count_makers(monkeypatch, made)
        begin.set()
        received = await asyncio.gather(*[lines_of(body, 200 // len(CHANNELS)) for body in bodies])
        await await_for(ended.is_set)
        assert made == []
        assert threads[1] <= threads[0]  # one that an earlier test left behind may end meanwhile
        monkeypatch.undo()
        publisher.join()

        assert len(received) == READERS
        assert all(lines == received[number % len(CHANNELS)] for number, lines in enumerate(received))
        assert [line for lines in received[: len(CHANNELS)] for line in lines] == [
            b"data: %d" % number for first in range(len(CHANNELS)) for number in range(first, 200, len(CHANNELS))
        ]
        assert len(pubsub_connections(server)) == 1
        for body in bodies:
            await body.aclose()


def publish_200(
    bridge: Bridge,
    begin: threading.Event,
    ended: threading.Event,
    made: list[str],
    threads: list[set[threading.Thread]],
) -> None:
    begin.wait(30)
    threads.append(set(threading.enumerate()))
    try:
        for number in range(200):
            bridge.publish(CHANNELS[number % len(CHANNELS)], number)
    except BaseException as error:
        made.append(repr(error))
    threads.append(set(threading.enumerate()))
    ended.set()


def count_makers(monkeypatch: pytest.MonkeyPatch, made: list[str]) -> None:
    """Notes every event loop and every thread that comes into being, and refuses it."""

    def refusing(name: str) -> Callable[..., Any]:
        def refuse(*_: Any, **__: Any) -> Any:
            made.append(name)
            raise AssertionError(f"{name} was called")

        return refuse

    monkeypatch.setattr(asyncio.BaseEventLoop, "__init__", refusing("an event loop"))
    monkeypatch.setattr(asyncio, "new_event_loop", refusing("asyncio.new_event_loop"))
    monkeypatch.setattr(asyncio, "run", refusing("asyncio.run"))
    monkeypatch.setattr(threading.Thread, "start", refusing("Thread.start"))


async def anext_of(body: Any) -> bytes:
    piece: bytes = await body.__anext__()
    return piece


async def lines_of(body: Any, count: int) -> list[bytes]:
    """The data lines of so many events."""
    found: list[bytes] = []
    while len(found) < count:
        piece = await asyncio.wait_for(body.__anext__(), 60)
        found += [line for line in piece.split(b"\n") if line.startswith(b"data: ") and line != b"data: {}"]
    return found
