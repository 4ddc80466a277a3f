"""Ten readers of one channel, each over a bad network of its own, that come back by themselves until the stored end.

What they know of the network is nothing: they lose connections and resume as a client of their kind does, by
Last-Event-ID, by a subscribe message after the last id, or, the iterators, not at all: there the bridge does it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from sse_bridge import Bridge
from tests.acceptance.publishers import TYPE
from tests.support.node import node_start
from tests.support.process import Process
from tests.support.proxy import Proxy
from tests.support.sse_client import follow
from tests.support.sse_parser import Frame

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

END = "stream.end"
TYPES = (TYPE, "stream.gap", END)
SECONDS = 240.0  # the patience of the readers; a test's own limit comes first
LOOK_SECONDS = 0.2  # how often the test asks programs outside its process what they have seen


class Seen(NamedTuple):
    """One event as the reader's own client tells it."""

    id: str
    type: str
    data: Any


class Reader:
    """One reader.

    Args:
        name: what the test calls it.
        proxy: its network.
        channel: what it reads, from the beginning.

    Attributes:
        seen: everything but what only concerns the connection (``stream.open``, ``stream.close`` …), in order.
        trouble: why it gave up, if it did.
    """

    def __init__(self, name: str, proxy: Proxy, channel: str) -> None:
        self.name = name
        self.proxy = proxy
        self.channel = channel
        self.seen: list[Seen] = []
        self.trouble = ""

    @property
    def done(self) -> bool:
        return bool(self.seen) and self.seen[-1].type == END

    @property
    def last_id(self) -> str:
        return self.seen[-1].id if self.seen else ""

    def look(self) -> None:
        """Brings `seen` up to date; raises what went wrong."""
        assert not self.trouble, f"{self.name} gave up:\n{self.trouble}"

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """Leaves, in the middle of it if the test has failed."""

    def saw(self, id: str | None, type: str, data: Any) -> None:
        if type in TYPES:
            self.seen.append(Seen(id or "", type, data))

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self.seen)} seen, the last {self.seen[-1:]}, {self.proxy.cuts} cuts>"


class ThreadedReader(Reader):
    """One whose client is a thread of the test."""

    def __init__(self, name: str, proxy: Proxy, channel: str) -> None:
        super().__init__(name, proxy, channel)
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self._thread.join(60)

    def _guarded(self) -> None:
        try:
            self.run()
        except BaseException:
            if not self.stopped.is_set():
                self.trouble = traceback.format_exc()

    def run(self) -> None:
        raise NotImplementedError


class SSEReader(ThreadedReader):
    """The strict client of the tests; it reconnects at once."""

    _looked_at = 0

    def run(self) -> None:
        url = f"{self.proxy.url}/events?channel={self.channel}&after=earliest"
        follow(url, self._done, seconds=SECONDS)

    def _done(self, frames: list[Frame]) -> bool:
        for frame in frames[self._looked_at :]:
            self.saw(frame.id, frame.event, json.loads(frame.data))
        self._looked_at = len(frames)
        return self.stopped.is_set() or self.done


class WebSocketReader(ThreadedReader):
    """Subscribes again after the last id."""

    def run(self) -> None:
        self._last = "earliest"
        while not self.stopped.is_set() and not self.done:
            try:
                self._one_connection()
            except (WebSocketException, OSError, EOFError):
                self.stopped.wait(0.02)

    def _one_connection(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=60)
        url = f"ws://127.0.0.1:{self.proxy.port}/events"
        with connect(url, sock=plain, close_timeout=0.1, compression=None) as connection:
            connection.send(json.dumps({"type": "subscribe", "channels": [self.channel], "after": self._last}))
            while not self.stopped.is_set() and not self.done:
                try:
                    message = json.loads(connection.recv(timeout=0.5))
                except TimeoutError:
                    continue
                self._last = message.get("id", self._last)
                self.saw(message.get("id"), message["type"], message.get("data"))


class SyncIterator(ThreadedReader):
    """`Bridge.subscribe`; its network lies between the bridge and Redis."""

    def __init__(self, name: str, proxy: Proxy, channel: str, settings: dict[str, Any]) -> None:
        super().__init__(name, proxy, channel)
        self.bridge = Bridge(proxy.redis_url, **settings)

    def run(self) -> None:
        with self.bridge, self.bridge.subscribe(self.channel, after="earliest") as stream:
            for event in stream:
                self.saw(event.id, event.type, event.data)

    def stop(self) -> None:
        self.stopped.set()
        self.bridge.close()
        super().stop()


class AsyncIterator(SyncIterator):
    """`Bridge.asubscribe`, on a loop of its own."""

    def run(self) -> None:
        asyncio.run(self._follow())

    async def _follow(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        async with self.bridge, self.bridge.asubscribe(self.channel, after="earliest") as stream:
            async for event in stream:
                self.saw(event.id, event.type, event.data)

    def stop(self) -> None:
        self.stopped.set()
        if self._thread.is_alive() and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(60)


class Outside(Reader):
    """One whose client is another program, which is asked now and then."""

    _asked_at = 0.0

    def look(self) -> None:
        super().look()
        now = time.monotonic()
        if now >= self._asked_at + LOOK_SECONDS and not self.done:
            self.ask()
            self._asked_at = time.monotonic()

    def ask(self) -> None:
        raise NotImplementedError


class Browser(Outside):
    """The browser's own EventSource, with no other code around it.

    Its network cuts no response inside the head: the standard ends an EventSource for good then, and so does Chromium.
    """

    def __init__(self, name: str, proxy: Proxy, channel: str, browser: Chrome) -> None:
        super().__init__(name, proxy, channel)
        self.browser = browser

    def load(self) -> None:
        """Opens the page; the network may be bad from then on, and `start` begins to follow."""
        self.browser.get(self.proxy.url)

    def start(self) -> None:
        url = f"/events?channel={self.channel}&after=earliest"
        self.browser.execute_script("follow(arguments[0], arguments[1])", url, TYPES)

    def ask(self) -> None:
        state, news = self.browser.execute_script(
            "return [source.readyState, seen.slice(arguments[0])]", len(self.seen)
        )
        for id, type, data in news:
            self.saw(id, type, json.loads(data))
        assert state != 2 or self.done, f"{self!r} was closed before the end: {self.browser.get_log('browser')}"

    def stop(self) -> None:
        self.browser.execute_script("if (source) source.close()")


class Node(Outside):
    """npm `eventsource` under Node."""

    _process: Process | None = None
    _read = 0

    def start(self) -> None:
        url = f"{self.proxy.url}/events?channel={self.channel}&after=earliest"
        self._process = node_start("follow.mjs", url, *TYPES)

    def ask(self) -> None:
        assert self._process is not None
        output = self._process.output
        whole = output.rfind("\n") + 1
        for line in output[self._read : whole].split("\n"):
            told = json.loads(line) if line else {}
            if "event" in told:
                self.saw(told["id"], told["event"], json.loads(told["data"]))
        self._read = whole
        assert self._process.alive or self.done, f"{self!r} has ended:\n{output[-2000:]}"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()


Make = Callable[[Proxy], Reader]
