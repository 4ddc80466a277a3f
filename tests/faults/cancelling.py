"""Many callers of one bridge, each on a channel of its own, whose calls are cancelled at random moments.

Every answer names its caller: a position must be that of the caller's own event, a history must be the caller's own, a
revocation is in force exactly if the last answer about this user said so.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from sse_bridge import Bridge
from sse_bridge.admission.admissions import target_of
from sse_bridge.admission.contract import ListRevocations
from tests.faults.registry import Tally

T = TypeVar("T")

LONGEST_SECONDS = 0.004  # until a call is cancelled: the network between takes about as long
MOST_TURNS = 4  # of the event loop, for calls that meet no network
PATIENCE_SECONDS = 60


class Impatience:
    """Awaits calls and cancels half of them.

    Attributes:
        cancelled: calls that had begun, by name.
    """

    def __init__(self, chance: random.Random, tally: Tally) -> None:
        self.chance = chance
        self.tally = tally
        self.cancelled: Counter[str] = Counter()

    async def impatiently(self, call: Callable[[], Awaitable[T]], what: str) -> tuple[T, ...]:
        """The call's result; nothing if it was cancelled."""
        begun = False

        async def calling() -> T:
            nonlocal begun
            begun = True
            return await call()

        task = asyncio.ensure_future(calling())
        loop = asyncio.get_running_loop()
        fate = self.chance.random()
        if fate < 0.25:
            loop.call_later(self.chance.uniform(0, LONGEST_SECONDS), task.cancel)
        elif fate < 0.5:
            _cancel_in(loop, self.chance.randrange(MOST_TURNS), task)
        try:
            return (await task,)
        except asyncio.CancelledError:
            if begun:
                self.cancelled[what] += 1
                self.tally.faults += 1
            return ()


def _cancel_in(loop: asyncio.AbstractEventLoop, turns: int, task: asyncio.Future[Any]) -> None:
    if turns:
        loop.call_soon(_cancel_in, loop, turns - 1, task)
    else:
        task.cancel()


class Caller(Impatience):
    """One caller and its channel.

    Attributes:
        positions: what was answered, by number.
        tried: how many numbers were published or may have been.
        users: how many were revoked or may have been.
        revoked: what was answered, by user: whether it is in force.
    """

    def __init__(self, bridge: Bridge, name: str, chance: random.Random, tally: Tally) -> None:
        super().__init__(chance, tally)
        self.bridge = bridge
        self.name = name
        self.positions: dict[int, str] = {}
        self.users = 0
        self.revoked: dict[str, bool] = {}
        self.tried = 0

    def data(self, number: int) -> list[Any]:
        return [self.name, number]

    async def publish(self) -> None:
        number, self.tried = self.tried, self.tried + 1
        call = self.impatiently(lambda: self.bridge.apublish(self.name, self.data(number)), "Bridge.apublish")
        for position in await call:
            self.positions[number] = str(position)

    async def publish_many(self) -> None:
        numbers = range(self.tried, self.tried + 3)
        self.tried += 3
        items = [(self.name, self.data(number)) for number in numbers]
        for results in await self.impatiently(lambda: self.bridge.apublish_many(items), "Bridge.apublish_many"):
            for number, result in zip(numbers, results, strict=True):
                if isinstance(result, Exception):
                    self.tally.wrong.append(f"{self.name}: {result!r}")
                else:
                    self.positions[number] = str(result)

    async def history(self) -> None:
        limit = self.chance.randrange(1, 1000)  # somebody else's answer would have another length
        for events in await self.impatiently(lambda: self.bridge.ahistory(self.name, limit=limit), "Bridge.ahistory"):
            self.own(events)
            if len(events) > limit:
                self.tally.wrong.append(f"{self.name} asked for {limit} events and got {len(events)}")

    async def close_another(self) -> None:
        """The end of a channel is stored once, whoever gave up waiting for it."""
        channel = f"{self.name}.{self.tried}"
        await self.impatiently(lambda: self.bridge.aclose_channel(channel), "Bridge.aclose_channel")
        first, second = [await self.bridge.aclose_channel(channel) for _ in range(2)]
        if first != second or first is None or first.offset != 1:
            self.tally.wrong.append(f"{channel}: two ends, {first} and {second}")

    async def revoke(self) -> None:
        """A user of its own each time: nobody knows what a cancelled call has done or will still do."""
        self.users += 1
        user = f"{self.name}.{self.users}"
        if not await self.impatiently(lambda: self.bridge.arevoke(user=user, seconds=600), "Bridge.arevoke"):
            return
        self.revoked[user] = True
        if self.chance.random() < 0.7:
            undone = await self.impatiently(lambda: self.bridge.aunrevoke(user=user), "Bridge.aunrevoke")
            del self.revoked[user]
            if undone:
                self.revoked[user] = False

    async def close_a_bridge(self) -> None:
        """One of its own, in the middle of its calls; what was left open is closed by the second attempt."""
        settings = self.bridge.settings
        bridge = Bridge(settings.url, **{name: getattr(settings, name) for name in settings.model_fields_set - {"url"}})
        channel = f"{self.name}.bridge{self.tried}"
        await bridge.apublish(channel, self.data(0))
        async with bridge.asubscribe(channel, last=1) as stream:
            await stream.next()
            await self.impatiently(bridge.aclose, "Bridge.aclose")
            await asyncio.wait_for(bridge.aclose(), PATIENCE_SECONDS)
            if await asyncio.wait_for(stream.next(), PATIENCE_SECONDS) is not None or not stream.closed:
                self.tally.wrong.append(f"{self.name}: a reader outlived its bridge")

    async def follow_shortly(self) -> None:
        """Enters and leaves, in the middle of both."""
        stream = self.bridge.asubscribe(self.name, after="earliest")
        try:
            if await self.impatiently(stream.wait_ready, "AsyncSubscription.wait_ready"):
                self.own(await self.impatiently(stream.next, "AsyncSubscription.next"))
        finally:
            await self.impatiently(stream.aclose, "AsyncSubscription.aclose")
            await stream.aclose()

    async def follow(self) -> list[Any]:
        """Reads everything up to the end, though most waiting is cancelled."""
        events = []
        block: dict[str, Any] = {"policy": "block", "queue_size": 2} if self.bridge.backend.can_block else {}
        async with self.bridge.asubscribe(self.name, after="earliest", **block) as stream:
            while not stream.closed:
                if self.chance.random() < 0.5:
                    found = await self.impatiently(stream.next, "AsyncSubscription.next")
                else:
                    found = await self.impatiently(partial(anext, stream, None), "AsyncSubscription.__anext__")
                events += [event for event in found if event is not None]
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
        actions = [
            self.publish, self.publish, self.publish, self.publish_many, self.publish_many, self.history, self.history,
            self.follow_shortly, self.close_another, self.revoke, self.revoke, self.close_a_bridge,
        ]  # fmt: skip
        for _ in range(rounds):
            await self.chance.choice(actions)()
        await self.bridge.aclose_channel(self.name)
        seen = await asyncio.wait_for(reading, PATIENCE_SECONDS)
        self.own(seen)
        seen = [event for event in seen if event.type == "message"]
        in_force = await self.bridge.backend.acontrol(ListRevocations())  # type: ignore[attr-defined]
        for user, revoked in self.revoked.items():
            if (target_of(user, None) in in_force) is not revoked:
                self.tally.wrong.append(f"{user}: expected revoked to be {revoked}")
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
