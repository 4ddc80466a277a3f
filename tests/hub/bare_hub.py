"""A hub without I/O and its clients: they come the long way, or resume as those did who came before, where they can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from sse_bridge.config import Settings
from sse_bridge.events import Entry
from sse_bridge.follow.feed import Feed
from sse_bridge.follow.subscribe_request import SubscribeRequest
from sse_bridge.hub.resumption import find_resumption
from sse_bridge.hub.shared_readers import AllSharedReaders, SharedReaders
from sse_bridge.hub.state import HubState
from sse_bridge.hub.windows import WindowBudget
from sse_bridge.records.codec import Announcement
from sse_bridge.records.continuity import Page
from sse_bridge.streams.channels.script import payload, renderer
from sse_bridge.wire.sse import SSE_FORMAT
from tests.follow import model
from tests.follow.model import T0, Broker, alone
from tests.follow.stage import subscribe

SETTINGS = Settings(
    replay_size=model.SETTINGS.replay_size, window_bytes=4096, max_write_bytes=1500, linger_seconds=1000
)
RENDERING = renderer(SSE_FORMAT)


def group_sizes(groups: AllSharedReaders) -> list[int]:
    """The number of readers in each group that has some."""
    return sorted(Counter(id(reader.shared) for reader in groups.members()).values())


class Client:
    """A reader and its connection, as a pushed stream is: it catches up by itself, or is in a group.

    Attributes:
        full: a write waits until it is no more.
        meanwhile: what happens during its next write.
        told: the id that it has, as far as its next heartbeat knows.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.shared: SharedReaders | None = None
        self.full = self.busy = self.opened = self.over = self.woken = self.resumed = False
        self.meanwhile: Callable[[Hub], None] | None = None
        self.written = b""
        self.told: bytes | None = None

    def come(self, request: SubscribeRequest) -> None:
        hub = self.hub
        resumption = find_resumption(hub.shared_readers, request, RENDERING) if hub.together else None
        if resumption is None:
            self.follower = hub.state.follower(request)
            hub.state.join(self)
            hub.subscribe()
        else:
            self.resumed = self.opened = True
            self.follower = resumption.follower
            self.write(self.open_frame(resumption.id) + resumption.data)
            if resumption.settle(self, self, hub.state, written=not self.busy):
                self.told = resumption.client_id
        self.go_on()

    def go_on(self) -> None:
        """What its task does until it waits."""
        self.woken = False
        state = self.hub.state
        while not self.busy and not self.over and self.shared is None:
            first = b""
            if not self.opened:
                if not state.ready(self.follower):
                    return
                self.opened = True
                first = self.open_frame(self.follower.id())
            page = self.pull()
            if first or page:
                self.write(first + page)
            if page or self.busy:
                continue
            if self.follower.finished:
                self.leave()
            else:  # behind its open frame without a second pull, too
                self.told = None if self.follower.hidden else self.follower.id()
                self.hub.shared_readers.join(self, self, RENDERING)
                if not first:
                    return

    def pull(self) -> bytes:
        data = b""
        while not data and (batch := self.hub.state.pull(self.follower, SETTINGS.max_write_bytes)) is not None:
            data = payload(SSE_FORMAT, batch)
        return data

    def open_frame(self, id: bytes) -> bytes:
        return SSE_FORMAT.control("stream.open", {}, id=id or None, retry_ms=1000)

    def write(self, data: bytes) -> None:
        self.written += data
        self.busy = self.full
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile(self.hub)

    def free(self) -> None:
        self.full = self.busy = False
        self.woken = True

    def leave(self) -> None:
        self.over = True
        if self.shared is not None:
            self.shared.drop(self)
        self.hub.state.leave(self, T0)

    def wake(self) -> None:
        self.woken = True

    def push(self, data: bytes) -> bool:
        self.write(data)
        return not self.full

    def finish(self) -> None:
        self.over = True

    @property
    def place(self) -> tuple[object, ...]:
        """What must be the same in both hubs."""
        at = None if self.over else (self.follower.id(), self.follower.hidden, self.follower.dropped)
        told = None if self.over or self.shared is None else self.told
        return self.written, told, self.shared is None, self.opened, self.busy, self.over, at


class Hub:
    """A hub state with its groups of shared readers, and what is under way to it."""

    def __init__(self, broker: Broker, windows_bytes: int, *, together: bool) -> None:
        self.broker = broker
        self.state = HubState(SETTINGS, budget=WindowBudget(windows_bytes))
        self.shared_readers = AllSharedReaders(self.state, SETTINGS.max_write_bytes, self._fail)
        self.together = together
        self.clients: list[Client] = []
        self.under_way: list[tuple[Feed, Page]] = []
        self.link_up = True

    def _fail(self, reader: Any) -> None:
        raise AssertionError(f"{reader} was closed")

    def subscribe(self) -> None:
        for channel in subscribe(self.state):
            if self.link_up:
                self.state.confirmed(channel)

    def hear(self, channel: str, entry: Entry, *, with_copy: bool = True) -> None:
        heard = alone(entry) if with_copy else Announcement(entry.epoch, entry.offset, [])
        if self.link_up and channel in self.state.feeds:
            self.state.announced(channel, heard)

    def link(self, up: bool) -> None:
        self.link_up = up
        if up:
            for channel in self.state.feeds:
                self.state.confirmed(channel)
        else:
            self.state.lost(None)

    def ask(self) -> bool:
        due = self.state.reads(T0)
        self.under_way += [(feed, self.broker.log(feed.channel).read(request)) for feed, request in due]
        return bool(due)

    def answer(self) -> None:
        under_way, self.under_way = self.under_way, []
        for feed, page in under_way:
            self.state.resolved(feed, page)

    def fail(self) -> None:
        self.state.failed([feed for feed, _ in self.under_way], T0 - 1000)
        self.under_way = []

    def flush(self) -> None:
        """Wakes who has something to get, and lets them."""
        for reader in self.state.changed():
            reader.wake()
        while woken := [client for client in self.clients if client.woken]:
            for client in woken:
                client.go_on()
