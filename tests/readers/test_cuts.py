"""Readers that others wrote, cut at random bytes, right behind the first id, and right behind the first id after a loss.

Each sees every event once, in order, and one gap where events were lost; after the stored end it asks no more.
"""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.acceptance.log import Log, place
from tests.acceptance.readers import Browser, Node, Reader
from tests.readers.clients import HttpxSse, InFirefox, Ours, Undici
from tests.support.proxy import Proxy
from tests.support.requires import needs_chromium, needs_firefox, needs_node, needs_redis7
from tests.support.servers import Server, serve
from tests.support.wait import stays, wait_for

pytestmark = [needs_chromium, needs_firefox, needs_node]

KEPT = 60
SETTINGS = {
    "RETRY_MIN_MS": "100",
    "RETRY_MAX_MS": "150",
    "HEARTBEAT_SECONDS": "1",
    "LINGER_SECONDS": "0",
    "DRAIN_SECONDS": "0",
    "WINDOW_BYTES": "4096",  # so that the process forgets with the log
    "REPLAY_SIZE": str(KEPT),
}
HEAD_BYTES = 1024  # no response head is longer; a cut inside it ends a browser's EventSource for good
SECONDS = 60.0


class Stage:
    """A server, a channel and its readers."""

    def __init__(self, server: Server, readers: list[Reader], channel: str) -> None:
        self.server = server
        self.readers = readers
        self.channel = channel
        self.log = Log()
        self._next = 0

    def ask(self, path: str, **query: Any) -> Any:
        pairs = "".join(f"&{name}={value}" for name, value in query.items())
        with urllib.request.urlopen(f"{self.server.url}{path}?channel={self.channel}{pairs}", timeout=60) as response:
            return json.load(response)

    def publish(self, count: int) -> dict[str, Any]:
        first, self._next = self._next, self._next + count
        data: dict[str, Any] = self.ask("/publish", first=first, count=count)
        assert len(data) == count
        return data

    def follow(self, count: int) -> None:
        """Publish what nobody loses, and wait until everybody has it."""
        while count > 0:
            self.log.published(self.publish(min(count, KEPT // 4)))
            count -= KEPT // 4
            self.catch_up()

    def lose(self, cut: bytes) -> None:
        """Everybody is away while more is published than the log keeps, and is cut behind `cut` after coming back."""
        self.each(lambda proxy: proxy.refuse())
        new = self.publish(4 * KEPT)
        kept = self.ask("/history")
        assert len(kept) < len(new)
        self.log.lost("trimmed", set(new) - set(kept), {id: new[id] for id in kept})
        self.each(lambda proxy: proxy.cut_behind(cut))
        self.each(lambda proxy: proxy.accept())
        self.catch_up()
        assert [reader for reader in self.readers if reader.proxy.behind_left] == []

    def each(self, act: Callable[[Proxy], None]) -> None:
        for reader in self.readers:
            act(reader.proxy)

    def wait(self, condition: Callable[[Reader], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS

        def holds() -> bool:
            for reader in self.readers:
                reader.look()
            left = [reader for reader in self.readers if not condition(reader)]
            assert not left or time.monotonic() < deadline, f"waited {SECONDS} s for {what}: {left}"
            return not left

        wait_for(holds, SECONDS + 10, what=what)

    def catch_up(self) -> None:
        self.wait(lambda reader: place(reader.last_id) == self.log.end, f"everybody to come to {self.log.end}")

    def cut_randomly(self, seed: int) -> None:
        for number, reader in enumerate(self.readers):
            low = HEAD_BYTES if isinstance(reader, (Browser, Node)) and not isinstance(reader, Ours) else 1
            reader.proxy.cut_randomly(seed + number, low, 4096)

    def asked(self) -> dict[str, list[str]]:
        """The ids of all requests by the reader's name."""
        hosts = self.ask("/asked")
        return {reader.name: hosts.get(f"127.0.0.1:{reader.proxy.port}", []) for reader in self.readers}


@contextmanager
def stage(url: str, browser: Any, firefox: Any) -> Iterator[Stage]:
    env = {f"SSE_BRIDGE_{name}": value for name, value in SETTINGS.items()}
    env |= {"SSE_BRIDGE_URL": url, "SSE_BRIDGE_PREFIX": f"t{uuid.uuid4().hex[:12]}"}
    channel = "log"
    with serve("uvicorn", "tests.readers.site:app", env=env) as server, ExitStack() as stack:

        def proxy() -> Proxy:
            return stack.enter_context(Proxy(server.port))

        readers: list[Reader] = [
            Browser("EventSource in Chromium", proxy(), channel, browser),
            InFirefox("EventSource in Firefox", proxy(), channel, firefox),
            Node("npm eventsource", proxy(), channel),
            Undici("undici", proxy(), channel),
            HttpxSse("httpx-sse", proxy(), channel),
            Ours("client.js", proxy(), channel),
        ]
        for reader in readers:
            stack.callback(reader.stop)
            if isinstance(reader, Browser):
                reader.load()
                reader.proxy.cut()  # the page's connection would be used again, and never be cut
        yield Stage(server, readers, channel)


def run(on: Stage, rounds: int) -> None:
    """All kinds of cuts, `rounds` times, and the end."""
    for number in range(rounds):
        on.cut_randomly(seed=100 * number)
        if number == 0:
            on.log.published(on.publish(10))  # before they come: the first id is the open frame's, then a replay
            on.each(lambda proxy: proxy.cut_behind(b"\nevent: stream.open\n"))
            for reader in on.readers:
                reader.start()
        on.follow(2 * KEPT)
        on.each(lambda proxy: proxy.stop_cutting())
        for pattern in (b"\nevent: stream.open\n", b"\nevent: row\n"):  # the first id, and the first id of an event
            on.each(lambda proxy, pattern=pattern: (proxy.cut_behind(pattern, times=2), proxy.cut()))  # type: ignore[misc]
            on.follow(KEPT // 2)
            on.follow(KEPT // 2)
        # the first id frame after the loss is the open frame's, then the gap's, then that of an event
        for pattern in (b"\nevent: stream.open\n", b"\nevent: stream.gap\n", b"\nevent: row\n"):
            on.lose(pattern)
    on.cut_randomly(seed=7)
    on.log.published(on.publish(KEPT // 2))
    on.ask("/close")
    on.wait(lambda reader: reader.done, "the end")
    for reader in on.readers:
        on.log.check(reader)
    wait_for(lambda: all(_told_to_stop(name, ids) for name, ids in on.asked().items()), what="the last requests")
    asked = on.asked()
    stays(lambda: on.asked() == asked, 1)
    assert [name for name, ids in asked.items() if len([id for id in ids if id.endswith("-e")]) > 1] == []
    assert sum(reader.proxy.cuts for reader in on.readers) > 5 * len(on.readers) * rounds


def _told_to_stop(name: str, ids: list[str]) -> bool:
    """Ours knows the end by itself; the others ask once with the id of the end, and are told 204."""
    return (name == "client.js") != ids[-1].endswith("-e")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["memory", pytest.param("redis", marks=needs_redis7)])
def test_nothing_is_lost_doubled_or_unannounced(
    backend: str, request: pytest.FixtureRequest, browser: Any, firefox_browser: Any
) -> None:
    url = "memory://" if backend == "memory" else request.getfixturevalue("redis_url")
    with stage(url, browser, firefox_browser) as on:
        run(on, rounds=1)


@pytest.mark.soak
@pytest.mark.slow  # a command line that says -m "not slow" takes back the "not soak" of pyproject.toml
@pytest.mark.timeout(900)
@needs_redis7
def test_nothing_is_lost_in_many_rounds(redis_url: str, browser: Any, firefox_browser: Any) -> None:
    with stage(redis_url, browser, firefox_browser) as on:
        run(on, rounds=15)
