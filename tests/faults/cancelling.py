"""Many callers of one bridge, each on a channel of its own, whose calls are cancelled at random moments.

Every answer names its caller: a position must be that of the caller's own event, a history must be the caller's own.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sse_bridge import Bridge
from tests.faults.registry import Tally

T = TypeVar("T")

LONGEST_SECONDS = 0.004  # until a call is cancelled: the network between takes about as long
PATIENCE_SECONDS = 30.0


class Caller:
    """One caller and its channel.

    Attributes:
        positions: what was answered, by number.
        tried: how many numbers were published or may have been.
        cancelled: calls, by name.
    """

    def __init__(self, bridge: Bridge, name: str, chance: random.Random, tally: Tally) -> None:
        self.bridge = bridge
        self.name = name
        self.chance = chance
        self.tally = tally
        self.positions: dict[int, str] = {}
        self.tried = 0
        self.cancelled: Counter[str] = Counter()

    async def impatiently(self, call: Callable[[], Awaitable[T]], what: str) -> T | None:
        """The call's result; None if it was cancelled, which it is in half of all cases."""
        task = asyncio.ensure_future(call())
        if self.chance.random() < 0.5:
            asyncio.get_running_loop().call_later(self.chance.uniform(0, LONGEST_SECONDS), task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            self.cancelled[what] += 1
            self.tally.faults += 1
            return None

    def data(self, number: int) -> list[Any]:
        return [self.name, number]

    async def publish(self) -> None:
        number, self.tried = self.tried, self.tried + 1
        position = await self.impatiently(lambda: self.bridge.apublish(self.name, self.data(number)), "apublish")
        if position is not None:
            self.positions[number] = str(position)

    async def publish_many(self) -> None:
        numbers = range(self.tried, self.tried + 3)
        self.tried += 3
        items = [(self.name, self.data(number)) for number in numbers]
        results = await self.impatiently(lambda: self.bridge.apublish_many(items), "apublish_many")
        for number, result in zip(numbers, results or (), strict=False):
            if isinstance(result, Exception):
                self.tally.wrong.append(f"{self.name}: {result!r}")
            else:
                self.positions[number] = str(result)

    async def history(self) -> None:
        events = await self.impatiently(lambda: self.bridge.ahistory(self.name, limit=1000), "ahistory")
        self.own(events or ())

    async def close_another(self) -> None:
        """The end of a channel is stored once, whoever gave up waiting for it."""
        channel = f"{self.name}.{self.tried}"
        await self.impatiently(lambda: self.bridge.aclose_channel(channel), "aclose_channel")
        first, second = [await self.bridge.aclose_channel(channel) for _ in range(2)]
        if first != second or first is None or first.offset != 1:
            self.tally.wrong.append(f"{channel}: two ends, {first} and {second}")

    async def follow_shortly(self) -> None:
        """Enters and leaves, in the middle of both."""
        stream = self.bridge.asubscribe(self.name, after="earliest")
        try:
            if await self.impatiently(stream.wait_ready, "wait_ready"):
                event = await self.impatiently(stream.next, "next")
                self.own([event] if event is not None else ())
        finally:
            await self.impatiently(stream.aclose, "aclose")
            await stream.aclose()

    async def follow(self) -> list[Any]:
        """Reads everything up to the end, though most waiting is cancelled."""
        events = []
        async with self.bridge.asubscribe(self.name, after="earliest") as stream:
            while not stream.closed:
                event = await self.impatiently(stream.next, "next")
                if event is not None:
                    events.append(event)
        return events

    def own(self, events: Any) -> None:
        for event in events:
            if event.channel != self.name or (event.type == "message" and event.data[0] != self.name):
                self.tally.wrong.append(f"{self.name} was given {event.channel} {event.data}")

    async def run(self, rounds: int) -> None:
        """The caller's whole life, and what came of it."""
        self.positions[0] = str(await self.bridge.apublish(self.name, self.data(0)))  # so that `next` has one
        self.tried = 1
        reading = asyncio.ensure_future(self.follow())
        actions = [self.publish, self.publish, self.publish_many, self.history, self.follow_shortly, self.close_another]
        for _ in range(rounds):
            await self.chance.choice(actions)()
        await self.bridge.aclose_channel(self.name)
        seen = await asyncio.wait_for(reading, PATIENCE_SECONDS)
        self.own(seen)
        seen = [event for event in seen if event.type == "message"]
        stored = await self.bridge.ahistory(self.name, limit=10_000)
        self.check(seen, [event for event in stored if event.type == "message"])

    def check(self, seen: list[Any], stored: list[Any]) -> None:
        numbers = Counter(event.data[1] for event in stored)
        self.tally.published += len(self.positions)
        self.tally.doubled += sum(count - 1 for count in numbers.values())
        by_id = {str(event.position): event.data[1] for event in stored}
        for number, position in self.positions.items():
            if by_id.get(position) != number:
                self.tally.wrong.append(f"{self.name}: {number} was answered with {position}: {by_id.get(position)}")
        self.tally.lost += len(stored) - len({str(event.position) for event in seen})
        if [event.id for event in seen] != [event.id for event in stored]:
            self.tally.wrong.append(f"{self.name}: the reader saw other events than the log holds")


async def cancel_calls(bridge: Bridge, seed: int, callers: int, rounds: int, tally: Tally) -> Counter[str]:
    """Lets so many callers live at once; what was cancelled."""
    chance = random.Random(seed)
    lives = [Caller(bridge, f"caller{n}", random.Random(chance.random()), tally) for n in range(callers)]
    await asyncio.gather(*[life.run(rounds) for life in lives])
    return sum((life.cancelled for life in lives), Counter())
