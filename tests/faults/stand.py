"""The stand on which a fault is tried: publishers that never pause for long, readers of three kinds, and a ledger.

    with Stand(server) as stand:
        stand.flow()             # publishing goes on, and every reader has seen more of it
        server.restart()
        stand.flow()
    tally = stand.tally          # the channel was closed, every reader saw the end, and the ledger is judged

Publishers and readers each have a network of their own in front of Redis (`stand.publishing`, `stand.reading`), so that
one side can be cut off alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, Self

import redis
import uvicorn

from sse_bridge import Bridge
from sse_bridge.backends.redis.keys import Keys
from sse_bridge_asgi import SSEBridgeMiddleware
from tests.acceptance.publishers import TYPE, row
from tests.acceptance.readers import AsyncIterator, Reader, SyncIterator, ThreadedReader
from tests.faults import surviving
from tests.faults.ledger import Ledger
from tests.faults.registry import SHORT, Scale, Tally
from tests.support.process import accepts, free_port
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for

CHANNEL = "faults"
AT_ONCE = 8  # coroutines that publish over one pipeline
PACE_SECONDS = 0.004  # between two publishes of one publisher
TICK_SECONDS = 1  # of a hub: what is due between two ticks, a heartbeat say, comes at the second
SETTINGS: dict[str, Any] = {
    "replay_size": 50_000,  # what is lost is lost by the fault, not by the size of the log
    "publish_timeout_seconds": 20,
    "link_timeout_seconds": 2,
    "check_seconds": 1,
    "heartbeat_seconds": 1,
    "linger_seconds": 0,
    "drain_seconds": 0,
}


def late_seconds(scale: Scale) -> float:
    """How late a timer may be: the long form proves its bound, the short one, beside other tests, that there is one."""
    return scale.pick(short=150, long=5) / 10


class Publishers:
    """Two threads and eight coroutines that publish until they are told to stop.

    Args:
        bridge, ledger: with what they publish, and who is told.
        pace_seconds: each pauses so long between two events.

    Attributes:
        longest: seconds that the longest publish took.
    """

    def __init__(self, bridge: Bridge, ledger: Ledger, pace_seconds: float = PACE_SECONDS) -> None:
        self.bridge = bridge
        self.longest = 0.0
        self._pace_seconds = pace_seconds
        self._ledger = ledger
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._publish, args=(f"thread-{n}",), daemon=True) for n in (1, 2)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._apublish_all()), daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a publisher is still publishing"

    def all_published(self) -> bool:
        """Everybody is connected: what happens from now on meets publishers at work."""
        names = {name for name, _ in list(self._ledger.published)}
        return len(names) == AT_ONCE + len(self._threads) - 1

    def _publish(self, name: str) -> None:
        n = 0
        while not self._stop.wait(self._pace_seconds):
            began = time.monotonic()
            try:
                outcome: object = self.bridge.publish(CHANNEL, row(name, n), type=TYPE)
            except Exception as error:
                outcome = error
            self._note(began, (name, n), outcome)
            n += 1

    async def _apublish_all(self) -> None:
        await asyncio.gather(*[self._apublish(f"task-{number}") for number in range(AT_ONCE)])
        for thread in self._threads[:-1]:
            await asyncio.to_thread(thread.join)  # they publish over the same bridge
        await self.bridge.aclose()

    async def _apublish(self, name: str) -> None:
        n = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                outcome: object = await self.bridge.apublish(CHANNEL, row(name, n), type=TYPE)
            except Exception as error:
                outcome = error
            self._note(began, (name, n), outcome)
            n += 1
            await asyncio.sleep(self._pace_seconds)

    def _note(self, began: float, key: tuple[str, int], outcome: object) -> None:
        self.longest = max(self.longest, time.monotonic() - began)
        self._ledger.told(key, outcome)


class SSEReader(ThreadedReader):
    """An SSE client over a server; it resumes by Last-Event-ID.

    Attributes:
        connections: how many it needed.
        heartbeats: comments it has got.
        signs: moments at which something came, an event or a comment.
    """

    connections = 0
    heartbeats = 0

    def run(self) -> None:
        self.signs: list[float] = []
        last = ""
        while not self.stopped.is_set() and not self.done:
            url = f"{self.proxy.url}/events?channel={self.channel}&after=earliest"
            try:
                client = SSEClient(url, last_event_id=last)
            except OSError:
                self.stopped.wait(0.05)
                continue
            with client:
                assert client.status == 200, client.status
                self.connections += 1
                beats = self.heartbeats
                while not self.stopped.is_set() and not self.done:
                    frame = client.next(0.1)
                    came = beats + len(client.parser.comments)
                    if frame is not None or came > self.heartbeats:
                        self.signs.append(time.monotonic())
                    self.heartbeats = came
                    if frame is not None:
                        self.saw(frame.id, frame.event, json.loads(frame.data))
                    elif client.ended:
                        break  # not before the last frame is taken: the end may have come in the same packet
                last = client.last_event_id


class Site:
    """uvicorn on a thread of this process, with the ASGI adapter and a bridge of its own."""

    def __init__(self, bridge: Bridge) -> None:

        async def inner(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "lifespan", f"nobody asked for {scope!r}"
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await bridge.aclose()
            await send({"type": "lifespan.shutdown.complete"})

        app = SSEBridgeMiddleware(inner, bridge, path="/events", authorize=lambda scope, channels: True)
        self.port = free_port()
        config = uvicorn.Config(
            app, port=self.port, log_level="error", lifespan="on", ws="none", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_for(lambda: accepts(self.port), what="uvicorn")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "uvicorn is still running"


class LostLinks(logging.Handler):
    """When this process noticed that a live link is gone."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.at: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("live link lost"):
            self.at.append(time.monotonic())


class Stand:
    """See the module.

    Args:
        server: the Redis behind both networks.
        url: of a group of servers instead, which is reached without a network of ours.
        home: where the channel lives in such a group at the beginning.
        scale: how much is published around each fault.
        publishers: settings of the publishers' bridge, over those of all.
        pace_seconds: theirs.
        settings: over `SETTINGS`, for all.

    Attributes:
        publishing, reading: the networks; None with `url`.
        tally: complete behind the with statement; faults and notes are the caller's to fill in.
        lost_links: moments at which a live link was found to be lost.
        silence: the longest time in which the SSE client heard nothing while the broker was away.
        noticed: the longest time until a link that was silent was taken for lost, where a row measures it.
        late_seconds: see there.
    """

    def __init__(
        self,
        server: RedisServer | None = None,
        *,
        url: str = "",
        home: RedisServer | None = None,
        scale: Scale = SHORT,
        publishers: dict[str, Any] | None = None,
        pace_seconds: float = PACE_SECONDS,
        **settings: Any,
    ) -> None:
        self._stack = ExitStack()
        self._events = scale.pick(short=30, long=300)
        self.late_seconds = late_seconds(scale)
        self.silence = self.noticed = 0.0
        self.settings = {**SETTINGS, **settings}
        self.tally = Tally()
        self.ledger = Ledger()
        self._links = LostLinks()
        self.lost_links = self._links.at
        self.publishing = self.reading = None
        if server is not None:
            self.publishing, self.reading = (self._stack.enter_context(Proxy(server.port)) for _ in range(2))
            url = server.url
        self._home = server or home
        publishers_url = self.publishing.redis_url if self.publishing else url
        self._readers_url = self.reading.redis_url if self.reading else url
        self.admin = Bridge(publishers_url, **self.settings)
        bridge = Bridge(publishers_url, **{**self.settings, **(publishers or {})})
        self.publishers = Publishers(bridge, self.ledger, pace_seconds)

    def __enter__(self) -> Self:
        stack = self._stack
        logger = logging.getLogger("sse_bridge.redis")
        logger.addHandler(self._links)
        stack.callback(logger.removeHandler, self._links)
        stack.callback(self.admin.close)
        stack.callback(self.publishers.bridge.close)
        site_bridge = Bridge(self._readers_url, **self.settings)
        site = Site(site_bridge)
        stack.callback(site.stop)
        network = stack.enter_context(Proxy(site.port))
        self.sse = SSEReader("SSE over uvicorn", network, CHANNEL)
        self.readers: list[Reader] = [
            SyncIterator("sync iterator", _Address(self._readers_url), CHANNEL, self.settings),  # type: ignore[arg-type]
            AsyncIterator("async iterator", _Address(self._readers_url), CHANNEL, self.settings),  # type: ignore[arg-type]
            self.sse,
        ]
        try:
            for reader in self.readers:
                reader.start()
                stack.callback(reader.stop)
            self.publishers.start()
            wait_for(self.publishers.all_published, what="a first event of every publisher")
            self.grow_old()
            self.flow()
        except BaseException:
            stack.close()
            raise
        return self

    def grow_old(self, seconds: int = 100) -> None:
        """The channel's life began long ago, as most have: in a young one a retry cannot prove that it is no double."""
        assert self._home
        key = Keys(self.admin.settings.prefix, 0).of(CHANNEL)[0]
        with redis.Redis.from_url(self._home.url) as client:
            born = int(client.getrange(key, 9, 18))  # append.lua says where; publishers are at work meanwhile
            client.setrange(key, 9, b"%d" % (born - seconds))

    def flow(self, events: int | None = None, seconds: float = 60.0) -> None:
        """Returns when every reader has seen so many events that were published from now on."""
        events = events or self._events
        before = [len(reader.seen) for reader in self.readers]
        mark = len(self.ledger.published)
        wait_for(lambda: len(self.ledger.published) >= mark + events, seconds, what="publishing to go on")
        self.wait(
            lambda: all(len(r.seen) >= n + events for r, n in zip(self.readers, before, strict=True)),
            seconds,
            f"every reader to see {events} more",
        )

    def wait(self, condition: Callable[[], object], seconds: float = 60.0, what: str = "") -> None:
        def holds() -> object:
            for reader in self.readers:
                reader.look()
            return condition()

        try:
            wait_for(holds, seconds, what=what)
        except AssertionError as error:
            stands = ", ".join(f"{reader.name}: {len(reader.seen)} seen" for reader in self.readers)
            raise AssertionError(f"{error}; {len(self.ledger.published)} published; {stands}") from None

    @contextmanager
    def away(self, heartbeats: int = 0) -> Iterator[float]:
        """Inside of it the broker is away: the client's stream stays, and is never silent for longer than it should be.

        Args:
            heartbeats: it stays away at least until so many have come.

        Yields:
            when it began.
        """
        began, before, connections = time.monotonic(), self.sse.heartbeats, self.sse.connections
        yield began
        each = self.settings["heartbeat_seconds"] + TICK_SECONDS
        self.wait(lambda: self.sse.heartbeats >= before + heartbeats, 10 + each * heartbeats, "heartbeats")
        signs = [began, *(sign for sign in list(self.sse.signs) if sign > began), time.monotonic()]
        self.silence = max([self.silence, *(later - earlier for earlier, later in pairwise(signs))])
        if self.silence > each + self.late_seconds:
            self.tally.wrong.append(
                f"a heartbeat each {each} s at the latest; the client heard nothing for {self.silence} s"
            )
        if self.sse.connections != connections:
            self.tally.wrong.append("the SSE client had to connect again while the broker was away")

    def gaps(self, reason: str) -> list[int]:
        """How many gaps for this reason each reader has seen."""
        return [
            sum(1 for event in list(reader.seen) if event.type == "stream.gap" and event.data["reason"] == reason)
            for reader in self.readers
        ]

    def __exit__(self, kind: object, *error: object) -> None:
        try:
            if kind is None:
                self.publishers.stop()
                self.admin.close_channel(CHANNEL)
                self.wait(lambda: all(reader.done for reader in self.readers), 60, "everybody to see the end")
                self.ledger.judge(self.readers, surviving.read(self.admin, CHANNEL), self.tally)
                if self.sse.connections != 1:
                    self.tally.wrong.append(f"the SSE client needed {self.sse.connections} connections instead of one")
        finally:
            self.publishers._stop.set()
            self._stack.close()


class _Address:
    """What an iterator asks its network for."""

    cuts = 0

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
