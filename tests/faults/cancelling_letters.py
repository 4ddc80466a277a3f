"""A spool that fills while the broker is away and empties when it is back, with calls that are cancelled all the while.

What was answered with "spooled" must be in the log in the end, once: flushed, or as a dead letter that was sent again. Each
letter names its channel, and each answer to sending it again names an event of that letter's channel.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from sse_bridge import Bridge, DeadLetter, Position
from sse_bridge.dead_letters import Resent
from tests.faults.cancelling import PATIENCE_SECONDS, Impatience
from tests.faults.registry import Tally
from tests.support.proxy import Proxy
from tests.support.wait import await_for

LIMIT = 10_000


class Spooler(Impatience):
    """One publisher and its channel.

    Attributes:
        answered: position by number; None for what was spooled.
        resent: the position of every letter that anybody sent again, by channel and number.
    """

    def __init__(
        self, bridge: Bridge, name: str, chance: random.Random, tally: Tally, resent: dict[tuple[str, int], str]
    ) -> None:
        super().__init__(chance, tally)
        self.bridge = bridge
        self.name = name
        self.answered: dict[int, str | None] = {}
        self.tried = 0
        self.resent = resent

    async def publish(self, rounds: int) -> None:
        for _ in range(rounds):
            if self.chance.random() < 0.7:
                number, self.tried = self.tried, self.tried + 1
                call = self.impatiently(
                    lambda number=number: self.bridge.apublish(self.name, [self.name, number]), "Bridge.apublish"
                )
                self.took([number], await call)
                continue
            numbers = range(self.tried, self.tried + 2)
            self.tried += 2
            items = [(self.name, [self.name, number]) for number in numbers]
            call_many = self.impatiently(lambda items=items: self.bridge.apublish_many(items), "Bridge.apublish_many")
            for results in await call_many:
                self.took(numbers, results)

    def took(self, numbers: Sequence[int], results: Sequence[object]) -> None:
        for number, result in zip(numbers, results, strict=False):
            if isinstance(result, Exception):
                self.tally.wrong.append(f"{self.name}: {result!r}")
            else:
                self.answered[number] = None if result is None else str(result)

    async def look_after_letters(self, rounds: int) -> None:
        for _ in range(rounds):
            limit = self.chance.randrange(1, 40)  # somebody else's answer would be longer, or shorter
            if self.chance.random() < 0.5:
                listed = await self.impatiently(
                    lambda limit=limit: self.bridge.adead_letters(limit), "Bridge.adead_letters"
                )
                for letters in listed:
                    self.look(letters, limit)
            else:
                resending = self.impatiently(
                    lambda limit=limit: self.bridge.aresend_dead_letters(limit), "Bridge.aresend_dead_letters"
                )
                for done in await resending:
                    self.sent(done, limit)

    def look(self, letters: Sequence[DeadLetter], limit: int) -> None:
        if len(letters) > limit:
            self.tally.wrong.append(f"{self.name} asked for {limit} letters and got {len(letters)}")
        for letter in letters:
            if not isinstance(letter, DeadLetter) or any(event.data[0] != letter.channel for event in letter.events):
                self.tally.wrong.append(f"{self.name} was given {letter!r}")

    def sent(self, done: Sequence[Resent], limit: int) -> None:
        self.look([each.letter for each in done], limit)
        for letter, result in done:
            number = letter.events[-1].data[1]
            if not isinstance(result, Position):
                self.tally.wrong.append(f"{self.name}: {letter!r} was not sent: {result!r}")
            elif self.resent.setdefault((letter.channel, number), str(result)) != str(result):
                self.tally.wrong.append(f"{letter.channel}: {number} was sent again to two positions")

    async def check(self) -> None:
        stored = await self.bridge.ahistory(self.name, limit=LIMIT)
        numbers = Counter(event.data[1] for event in stored)
        by_id = {str(event.position): event.data[1] for event in stored}
        told = {number: id for number, id in self.answered.items() if id is not None}
        told.update({number: id for (channel, number), id in self.resent.items() if channel == self.name})
        self.tally.published += len(self.answered)
        self.tally.doubled += sum(count - 1 for count in numbers.values())
        self.tally.lost += len(set(self.answered) - set(numbers))
        for number, id in told.items():
            if by_id.get(id) != number:
                self.tally.wrong.append(f"{self.name}: {number} was answered with {id}: {by_id.get(id)}")
        if any(event.data[0] != self.name for event in stored):
            self.tally.wrong.append(f"{self.name} holds events of others")


async def cancel_around_a_spool(
    bridge: Bridge, network: Proxy, seed: int, spoolers: int, rounds: int, tally: Tally
) -> Counter[str]:
    """The broker is there, then away until more was published than the spool holds, then there again."""
    chance = random.Random(seed)
    resent: dict[tuple[str, int], str] = {}
    all_ = [Spooler(bridge, f"spooler{n}", random.Random(chance.random()), tally, resent) for n in range(spoolers)]
    await asyncio.gather(*[one.publish(rounds) for one in all_])
    network.refuse()
    await asyncio.gather(*[one.publish(rounds) for one in all_])
    network.accept()
    await asyncio.gather(*[one.publish(rounds) for one in all_])  # behind what is being flushed
    await await_for(lambda: bridge.spool.idle, PATIENCE_SECONDS, what="the spool to be empty")
    if not bridge.spool.flushed or not bridge.spool.dead:
        tally.wrong.append(f"seed {seed}: {bridge.spool.flushed} were flushed, {bridge.spool.dead} died")

    async def none_left() -> bool:
        await asyncio.gather(*[one.look_after_letters(3) for one in all_])
        return not await bridge.adead_letters(1)

    await await_for(none_left, PATIENCE_SECONDS, what="every dead letter to be sent again")
    await asyncio.gather(*[one.check() for one in all_])
    return sum((one.cancelled for one in all_), Counter())
