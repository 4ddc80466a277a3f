"""Greenlets that are killed, or run out of time, in the middle of any call: the answers of others are their own.

    python -m tests.faults.killed_greenlets URL SEED GREENLETS ROUNDS

Prints how many calls were ended early and how many events were published.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import random  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from sse_bridge import Bridge  # noqa: E402

LONGEST_SECONDS = 0.01


def life(bridge: Bridge, name: str, rounds: int, chance: random.Random, figures: dict[str, int]) -> None:
    """Calls, half of which end early, and what the log says in the end."""
    positions: dict[int, str] = {}

    def publish(number: int) -> None:
        positions[number] = str(bridge.publish(name, [name, number]))

    def history(number: int) -> None:
        own(bridge.history(name, limit=1000))

    def follow(number: int) -> None:
        with bridge.subscribe(name, after="earliest") as stream:
            event = stream.next(timeout=5)
            own([event] if event is not None else [])

    def own(events: Any) -> None:
        for event in events:
            assert event.channel == name, (name, event.channel)
            assert event.data[0] == name, (name, event.data)

    publish(0)
    for number in range(1, rounds):
        call = chance.choice([publish, publish, history, follow])
        greenlet = gevent.spawn(call, number)
        if chance.random() < 0.5:
            with gevent.Timeout(chance.uniform(0, LONGEST_SECONDS), False):
                greenlet.join()
            if not greenlet.dead:
                figures["killed"] += 1
                greenlet.kill()
        greenlet.get()  # raises what went wrong; a greenlet that was killed has nothing to say
    stored = bridge.history(name, limit=10_000)
    own(stored)
    numbers = [event.data[1] for event in stored]
    assert len(numbers) == len(set(numbers)), f"{name}: something is stored twice: {numbers}"
    by_id = {str(event.position): event.data[1] for event in stored}
    for number, position in positions.items():
        assert by_id.get(position) == number, (name, number, position)
    figures["published"] += len(positions)


def main(url: str, seed: str, greenlets: str, rounds: str) -> None:
    chance = random.Random(seed)
    figures = {"killed": 0, "published": 0}
    with Bridge(url, linger_seconds=0.2) as bridge:
        jobs = [
            gevent.spawn(life, bridge, f"g{n}", int(rounds), random.Random(chance.random()), figures)
            for n in range(int(greenlets))
        ]
        gevent.joinall(jobs, raise_error=True)
    print(figures["killed"], figures["published"])


if __name__ == "__main__":
    main(*sys.argv[1:])
