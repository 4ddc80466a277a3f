"""Everything that runs besides the test: a Redis that it may kill, five servers, eight publishers, the readers' network."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis

from sse_bridge import Bridge
from tests.acceptance.log import Log, place
from tests.acceptance.publishers import FOLDER, NAMES, Orders, row
from tests.acceptance.readers import (
    AsyncIterator,
    Browser,
    Node,
    Reader,
    SSEReader,
    SyncIterator,
    WebSocketReader,
)
from tests.support.gevent_run import gevent_start
from tests.support.process import Process
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.servers import Server, serve
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

# kind of server: what it serves
SERVERS = {
    "uvicorn": "tests.acceptance.asgi_site:app",
    "hypercorn": "tests.acceptance.asgi_site:app",
    "daphne": "tests.acceptance.asgi_site:app",
    "gunicorn-gthread": "tests.acceptance.django_site:app",
    "gunicorn-gevent": "tests.acceptance.flask_site:app",
}
# Streams whose client was cut off hold a thread until the next heartbeat, and two threads publish.
ARGUMENTS = {"gunicorn-gthread": ("--threads", "32")}

_ASYNCIO = """
import asyncio, sys
from sse_bridge import apublish
from tests.acceptance.publishers import awork
asyncio.run(awork(sys.argv[1], apublish))
"""
_GEVENT = """
    import sys
    from sse_bridge import publish
    from tests.acceptance.publishers import AT_ONCE, work
    work(sys.argv[1], publish, AT_ONCE)
"""
_HEAD_BYTES = 1024  # no server's response head is longer
# Half of the connections to Redis let a page of the log through (256 entries); where none does nobody can read on.
_PAGE_BYTES = 100_000


class Stage:
    """See the module.

    Args:
        folder: an empty one.
        settings: the bridges' in every process, besides the URL.

    Attributes:
        redis: the log's.
        bridge: straight to it, for the test's own use, and
        client: likewise.
    """

    def __init__(self, stack: ExitStack, folder: Path, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.redis = stack.enter_context(RedisServer())
        self.bridge = stack.enter_context(Bridge(self.redis.url, **settings))
        self.client = stack.enter_context(redis.Redis.from_url(self.redis.url))
        self.orders = Orders(folder)
        self._rounds = 0
        self._stack = stack
        env = {f"SSE_BRIDGE_{name.upper()}": str(value) for name, value in settings.items()}
        env |= {"SSE_BRIDGE_URL": self.redis.url, FOLDER: str(folder), "NAMES": "celery-1 celery-2"}
        self.publishers = [stack.enter_context(publisher) for publisher in _start_publishers(env)]
        self.servers: dict[str, Server] = {}
        for kind, app in SERVERS.items():
            server = serve(kind, app, env=env, arguments=ARGUMENTS.get(kind, ()))
            self.servers[kind] = stack.enter_context(server)
        for name in ("django-1", "django-2"):
            request = socket.create_connection(("127.0.0.1", self.servers["gunicorn-gthread"].port))
            stack.callback(request.close)
            request.sendall(f"GET /publish/{name} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        stack.callback(self._end_all)  # the first thing at the end, so that they end side by side

    def publish(self, channel: str, each: int) -> Callable[[], dict[str, Any]]:
        """Lets every publisher publish so many events; call the result to wait for them and get the data by id."""
        self._rounds += 1
        number = self._rounds
        self.orders.give(number, channel, each)

        def wait(seconds: float = 120.0) -> dict[str, Any]:
            def all_reports() -> list[dict[str, Any]]:
                for publisher in self.publishers:
                    assert publisher.alive, f"a publisher has ended:\n{publisher.output}"
                reports = [self.orders.reported(name, number) for name in NAMES]
                return reports if all(reports) else []

            reports = wait_for(all_reports, seconds, what=f"round {number} of the publishers")
            _check_who([report["who"] for report in reports])
            data = {}
            for name, report in zip(NAMES, reports, strict=True):
                for n, id in enumerate(report["ids"]):
                    assert id.count("-") == 3, f"{name} could not publish its event {n}: {id}"
                    data[id] = row(name, n)
            assert len(data) == each * len(NAMES), "two events have the same id"
            return data

        return wait

    def _end_all(self) -> None:
        self.orders.give(self._rounds + 1, "", 0)
        for process in [*self.publishers, *[server.process for server in self.servers.values()]]:
            process.signal(signal.SIGTERM)


def _start_publishers(env: dict[str, str]) -> list[Process]:
    celery = ["python", "-m", "celery", "--app", "tests.acceptance.celery_site", "worker", "--pool", "prefork"]
    quiet = [
        "--concurrency",
        "2",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        "--loglevel",
        "warning",
    ]
    return [
        Process([*celery, *quiet], env=env),
        *[Process(["python", "-c", _ASYNCIO, f"asyncio-{number}"], env=env) for number in (1, 2)],
        *[gevent_start(_GEVENT, f"gevent-{number}", env=env) for number in (1, 2)],
    ]


def _check_who(who: list[list[int]]) -> None:
    """Eight publishers, seven processes: the two in Django are threads of one."""
    assert len({tuple(each) for each in who}) == 8, who
    assert len({process for process, _ in who}) == 7, who


@contextmanager
def stage(folder: Path, **settings: Any) -> Iterator[Stage]:
    """Starts everything, and ends it."""
    with ExitStack() as stack:
        yield Stage(stack, folder, settings)


class Audience:
    """Ten readers of one channel.

    Args:
        on: the stage.
        browser: a Chromium on an empty page.
        channel: what they read.
        high: connections are cut after a random number of bytes up to this.
    """

    def __init__(self, on: Stage, browser: Chrome, channel: str, high: int) -> None:
        self.channel = channel
        self._stack = ExitStack()
        self._high = high
        port = {kind: server.port for kind, server in on.servers.items()}
        self.readers: list[Reader] = [
            *[SSEReader(f"SSE over {kind}", self._proxy(port[kind]), channel) for kind in SERVERS],
            WebSocketReader("WebSocket", self._proxy(port["hypercorn"]), channel),
            SyncIterator("sync iterator", self._proxy(on.redis.port), channel, on.settings),
            AsyncIterator("async iterator", self._proxy(on.redis.port), channel, on.settings),
            Browser("EventSource in Chromium", self._proxy(port["uvicorn"]), channel, browser),
            Node("npm eventsource", self._proxy(port["uvicorn"]), channel),
        ]

    def _proxy(self, port: int) -> Proxy:
        return self._stack.enter_context(Proxy(port))

    def __enter__(self) -> Self:
        for number, reader in enumerate(self.readers):
            low, high = 1, self._high
            if isinstance(reader, Browser):
                reader.load()
                reader.proxy.cut()  # the page's connection would be used again, and never be cut
            if isinstance(reader, (Browser, Node)):
                low = _HEAD_BYTES
            if isinstance(reader, SyncIterator):
                high = _PAGE_BYTES
            reader.proxy.cut_randomly(str(number), low, high)
            reader.start()
        return self

    def __exit__(self, *error: object) -> None:
        for reader in self.readers:
            reader.stop()
        self._stack.close()

    def wait(self, condition: Callable[[Reader], bool], seconds: float, what: str) -> None:
        """Waits until it holds for every reader."""
        deadline = time.monotonic() + seconds

        def holds() -> bool:
            for reader in self.readers:
                reader.look()
            left = [reader for reader in self.readers if not condition(reader)]
            assert not left or time.monotonic() < deadline, f"waited {seconds} s for {what}: {left}"
            return not left

        wait_for(holds, seconds + 10, what=what)

    def catch_up(self, log: Log, seconds: float = 60.0) -> None:
        """Waits until every reader has seen the last event of the story."""
        self.wait(lambda reader: place(reader.last_id) == log.end, seconds, f"everybody to come to {log.end}")

    def cut_off(self) -> None:
        """Everybody loses the connection and gets none."""
        for reader in self.readers:
            reader.proxy.refuse()

    def let_back(self) -> None:
        for reader in self.readers:
            reader.proxy.accept()
