"""Greenlets that are killed, or run out of time, in the middle of any call: the answers of others are their own.

    python -m tests.faults.killed_greenlets URL SEED GREENLETS ROUNDS

Prints how many calls were ended early and how many events were published. Over the memory backend readers hold publishers
(policy `block`), for nothing else waits there.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import random  # noqa: E402
import sys  # noqa: E402
from collections import Counter  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from sse_bridge import Bridge  # noqa: E402
from sse_bridge.admission.admissions import target_of  # noqa: E402
from sse_bridge.admission.contract import ListRevocations  # noqa: E402

LONGEST_SECONDS = 0.01
PATIENCE_SECONDS = 60


class Life:
    """Calls, half of which end early, and what the log says in the end.

    Attributes:
        positions: what was answered, by number.
        revoked: what was answered, by user: whether it is in force.
    """

    def __init__(self, bridge: Bridge, name: str, chance: random.Random, figures: Counter[str]) -> None:
        self.bridge = bridge
        self.name = name
        self.chance = chance
        self.figures = figures
        self.positions: dict[int, str] = {}
        self.revoked: dict[str, bool] = {}
        self.tried = 0

    def run(self, rounds: int) -> None:
        self.publish()
        reading = gevent.spawn(self.follow_all)
        calls = [
            self.publish, self.publish, self.publish_many, self.history, self.follow, self.close_another, self.revoke,
            self.letters,
        ]  # fmt: skip
        for _ in range(rounds):
            greenlet = gevent.spawn(self.chance.choice(calls))
            if self.chance.random() < 0.5:
                with gevent.Timeout(self.chance.uniform(0, LONGEST_SECONDS), False):
                    greenlet.join()
                if not greenlet.dead:
                    self.figures["killed"] += 1
                    greenlet.kill()
            greenlet.get()  # raises what went wrong; a greenlet that was killed has nothing to say
        self.bridge.close_channel(self.name)
        self.check([event for event in reading.get(timeout=PATIENCE_SECONDS) if event.type == "message"])

    def publish(self) -> None:
        number, self.tried = self.tried, self.tried + 1
        self.positions[number] = str(self.bridge.publish(self.name, [self.name, number]))

    def publish_many(self) -> None:
        numbers = range(self.tried, self.tried + self.chance.choice((1, 3)))
        self.tried += len(numbers)
        items = [(self.name, [self.name, number]) for number in numbers]
        *results, _ = self.bridge.publish_many([*items, (f"{self.name}.beside", 0)])  # one shares its call with this
        for number, result in zip(numbers, results, strict=True):
            assert not isinstance(result, Exception), result
            self.positions[number] = str(result)

    def history(self) -> None:
        limit = self.chance.randrange(1, 1000)
        found = self.bridge.history(self.name, limit=limit)
        assert len(found) <= limit, (limit, len(found))
        self.own(found)

    def follow(self) -> None:
        with self.bridge.subscribe(self.name, after="earliest") as stream:
            assert stream.wait_ready(PATIENCE_SECONDS)
            event = stream.next(timeout=PATIENCE_SECONDS)
            self.own([event] if event is not None else [])

    def follow_all(self) -> list[Any]:
        block: dict[str, Any] = {"policy": "block", "queue_size": 2} if self.bridge.backend.can_block else {}
        with self.bridge.subscribe(self.name, after="earliest", **block) as stream:
            found = []
            for event in stream:
                found.append(event)
                gevent.sleep(0.001)
            return found

    def close_another(self) -> None:
        channel = f"{self.name}.{self.tried}"
        self.tried += 1  # a channel for each attempt, whatever becomes of it
        first, second = self.bridge.close_channel(channel), self.bridge.close_channel(channel)
        assert first == second, (first, second)
        assert first is not None
        assert first.offset == 1, first

    def revoke(self) -> None:
        self.tried += 1
        user = f"{self.name}.{self.tried}"
        self.bridge.revoke(user=user, seconds=600)
        self.revoked[user] = True
        if self.chance.random() < 0.7:
            del self.revoked[user]  # if this is ended early, nobody knows
            self.bridge.unrevoke(user=user)
            self.revoked[user] = False

    def letters(self) -> None:
        assert self.bridge.dead_letters(self.chance.randrange(1, 10)) == []
        assert self.bridge.resend_dead_letters(self.chance.randrange(1, 10)) == []

    def own(self, events: Any) -> None:
        for event in events:
            assert event.channel == self.name, (self.name, event.channel)
            assert event.type != "message" or event.data[0] == self.name, (self.name, event.data)

    def check(self, seen: list[Any]) -> None:
        stored = [event for event in self.bridge.history(self.name, limit=10_000) if event.type == "message"]
        self.own(stored)
        numbers = [event.data[1] for event in stored]
        assert len(numbers) == len(set(numbers)), f"{self.name}: something is stored twice: {numbers}"
        assert [event.id for event in seen] == [event.id for event in stored], (
            f"{self.name}: the reader saw another log"
        )
        by_id = {str(event.position): event.data[1] for event in stored}
        for number, position in self.positions.items():
            assert by_id.get(position) == number, (self.name, number, position)
        in_force = self.bridge.backend.control(ListRevocations())  # type: ignore[attr-defined]
        for user, revoked in self.revoked.items():
            assert (target_of(user, None) in in_force) is revoked, user
        self.figures["published"] += len(self.positions)


def main(url: str, seed: str, greenlets: str, rounds: str) -> None:
    chance = random.Random(seed)
    figures: Counter[str] = Counter()
    with Bridge(url, linger_seconds=0.2) as bridge:
        lives = [Life(bridge, f"g{n}", random.Random(chance.random()), figures) for n in range(int(greenlets))]
        gevent.joinall([gevent.spawn(life.run, int(rounds)) for life in lives], raise_error=True)
    print(figures["killed"], figures["published"])


if __name__ == "__main__":
    main(*sys.argv[1:])
