"""Two hubs on one history, and clients that come to both.

In one hub every client takes the long way; in the other it resumes as those did who came before, where it can. Both hear,
read and lose the same. After every step each client has the same bytes in both, and is in a group of shared readers in
both or in none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sse_bridge.config import Policy
from sse_bridge.events import END_TYPE, GENESIS, Entry, Position, channel_key
from sse_bridge.filters import ByType
from sse_bridge.follow.subscribe_request import SubscribeRequest, make_request
from tests.follow.model import T0, Broker
from tests.hub.bare_hub import SETTINGS, Client, Hub, group_sizes

ORDERS = ByType("order")


class Stage:
    """A broker and two hubs; steps by name. `number` picks whatever a step needs."""

    def __init__(self, windows_bytes: int = 10**9, channels: int = 2) -> None:
        self.broker = Broker()
        self.hubs = [Hub(self.broker, windows_bytes, together=together) for together in (False, True)]
        self.channels = list("ab"[:channels])
        self.wishes: list[SubscribeRequest] = []
        self.in_the_air: list[tuple[str, Entry]] = []
        self._now = T0

    @property
    def resumed(self) -> int:
        return sum(client.resumed for client in self.hubs[1].clients)

    def do(self, step: str, number: int) -> None:
        getattr(self, step)(number)
        for hub in self.hubs:
            hub.flush()
        self.check_the_same()

    def check_the_same(self) -> None:
        alone, together = self.hubs
        for one, other in zip(alone.clients, together.clients, strict=True):
            assert one.place == other.place
        assert group_sizes(alone.shared_readers) == group_sizes(together.shared_readers)
        for channel, feed in alone.state.feeds.items():
            other_feed = together.state.feeds[channel]
            assert len(feed.waiting()) == len(other_feed.waiting())
            assert (feed.live, feed.reading) == (other_feed.live, other_feed.reading)
            assert feed.read_at <= other_feed.read_at <= feed.read_at + 1  # who has to go on alone joins once more

    # the broker

    def publish(self, number: int) -> None:
        """Heard at once, late, as a position alone, or not at all."""
        for channel, entry in self._appended(number):
            if number % 7 == 0:
                self.in_the_air.append((channel, entry))
            elif number % 11:
                for hub in self.hubs:
                    hub.hear(channel, entry, with_copy=number % 5 != 0)

    def publish_others(self, number: int) -> None:
        """What not everybody wants."""
        for channel in self.channels:
            for _ in range(0 if self.broker.log(channel).closed else number % 12):
                entry = self.broker.log(channel).append("other")
                for hub in self.hubs:
                    hub.hear(channel, entry)

    def publish_ephemerals(self, number: int) -> None:
        channel = self._channel(number)
        log = self.broker.log(channel)
        for _ in range(0 if log.closed else 1 + number % 2):
            entry = log.ephemeral()
            for hub in self.hubs:
                hub.hear(channel, entry)

    def end(self, number: int) -> None:
        channel = self._channel(number)
        if not self.broker.log(channel).closed:
            entry = self.broker.log(channel).append(END_TYPE)
            for hub in self.hubs:
                hub.hear(channel, entry)

    def trim(self, number: int) -> None:
        self.broker.trim(self._channel(number), 1 + number)

    def wipe(self, number: int) -> None:
        self.broker.flush(self._channel(number))

    def fail_over(self, number: int) -> None:
        self.broker.fail_over(self._channel(number), 1 + number // 4)

    def poison(self, number: int) -> None:
        channel = self._channel(number)
        self.broker.poison(channel, self.broker.log(channel).top - number // 2)

    # the link, reads, memory

    def hear(self, number: int) -> None:
        for channel, entry in self.in_the_air[:number]:
            for hub in self.hubs:
                hub.hear(channel, entry)
        del self.in_the_air[:number]

    def lose(self, _: int) -> None:
        for hub in self.hubs:
            hub.link(False)

    def confirm(self, _: int) -> None:
        for hub in self.hubs:
            hub.link(True)

    def ask(self, _: int) -> None:
        for hub in self.hubs:
            hub.ask()

    def answer(self, _: int) -> None:
        for hub in self.hubs:
            hub.answer()

    def fail(self, _: int) -> None:
        for hub in self.hubs:
            hub.fail()

    def check(self, _: int) -> None:
        self._now += 1000
        for hub in self.hubs:
            hub.state.check_some(self._now)

    def evict(self, number: int) -> None:
        for hub in self.hubs:
            feed = hub.state.feeds.get(self._channel(number))
            if feed is not None:
                feed.give_way(150 * number, but_newest=bool(number % 2))

    def settle(self, _: int) -> None:
        for hub in self.hubs:
            if not hub.link_up:
                continue
            for round_ in range(1000):
                hub.answer()
                hub.flush()
                if not hub.ask():
                    break
                assert round_ < 990, "reads never come to an end"

    # clients

    def come(self, number: int) -> None:
        """With an id of somewhere near the head, mostly."""
        ids = []
        for channel in self.channels:
            log, back = self.broker.log(channel), number % 17
            entry = log.chain.get(log.top - back)
            if entry is not None:
                at = Position(
                    channel_key(channel).decode(),
                    entry.epoch.decode(),
                    entry.offset,
                    entry.check.decode(),
                    entry.is_end,
                )
                ids.append(str(at))
            else:
                ids.append(str(Position(channel_key(channel).decode(), log.epoch.decode(), 0, GENESIS.decode())))
        policy: Policy = "drop_oldest" if number % 13 == 12 else "catch_up"
        filter = ORDERS if number % 3 == 0 else None
        request = make_request(SETTINGS, self.channels, after=".".join(ids), filter=filter, policy=policy, queue_size=3)
        self._enter(request)

    def come_anew(self, number: int) -> None:
        """Without an id, or with one that says nothing, or not of every channel, or of another life of the log."""
        lost = [
            Position(channel_key("a").decode(), "lost", 3, "3"),
            Position(channel_key("a").decode(), "lost", 0, "x"),
        ]
        after = [None, "no id of ours", str(lost[number % 2]), "earliest"][number % 4]
        last = number if number % 4 == 0 and number > 3 else None
        self._enter(make_request(SETTINGS, self.channels, after=after, last=last))

    def come_again(self, number: int) -> None:
        """For the same as somebody before, in the same object or in another one."""
        if self.wishes:
            request = self.wishes[-1 - number % min(3, len(self.wishes))]
            self._enter(request if number % 4 else dataclasses.replace(request))

    def come_unheard(self, number: int) -> None:
        """Something was announced, and the hub has not looked at it yet."""
        self.publish(number)
        self.come_again(number)

    def come_full(self, number: int) -> None:
        """The first write waits."""
        if self.wishes:
            self._enter(self.wishes[-1 - number % min(3, len(self.wishes))], full=True)

    def come_meanwhile(self, number: int) -> None:
        """Something happens during the first write."""
        if not self.wishes:
            return
        channel, log = self._channel(number), self.broker.log(self._channel(number))
        kind = number % 6
        entry = None
        if not log.closed:
            entry = log.ephemeral() if kind == 1 else log.append(END_TYPE if kind == 2 else "order")

        def happens(hub: Hub) -> None:
            if kind == 3:
                hub.link(False)
            elif kind == 4 and channel in hub.state.feeds:
                hub.state.feeds[channel].give_way(10**6)
            elif kind == 5:
                for client in hub.clients[:-1]:
                    if not client.over:
                        client.leave()
            elif entry is not None:
                hub.hear(channel, entry)
                if number % 4:
                    for reader in hub.state.changed():
                        reader.wake()

        self._enter(self.wishes[-1 - number % min(3, len(self.wishes))], full=number % 5 == 0, meanwhile=happens)

    def leave(self, number: int) -> None:
        for client in self._both(number):
            if not client.over:
                client.leave()

    def fill(self, number: int) -> None:
        for client in self._both(number):
            client.full = True

    def free(self, number: int) -> None:
        for client in self._both(number):
            client.free()

    def free_all(self, _: int) -> None:
        for hub in self.hubs:
            for client in hub.clients:
                client.free()

    # inside

    def _enter(
        self, request: SubscribeRequest, full: bool = False, meanwhile: Callable[[Hub], None] | None = None
    ) -> None:
        self.wishes.append(request)
        for hub in self.hubs:
            client = Client(hub)
            client.full, client.meanwhile = full, meanwhile
            hub.clients.append(client)
            client.come(request)

    def _appended(self, number: int) -> list[tuple[str, Entry]]:
        channel = self._channel(number)
        log = self.broker.log(channel)
        if log.closed:
            return []
        types = ["order" if (number + index) % 3 else "other" for index in range(1 + number % 6)]
        return [(channel, log.append(type, size=10 * (number % 4) + 10)) for type in types]

    def _both(self, number: int) -> list[Client]:
        return [hub.clients[number % len(hub.clients)] for hub in self.hubs if hub.clients]

    def _channel(self, number: int) -> str:
        return self.channels[number % len(self.channels)]
