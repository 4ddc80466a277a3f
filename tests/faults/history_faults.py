"""What a reader believes of a channel's history: where a policy moved it, where its gaps lie, and that it has ended."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, Final, Self

import redis

from sse_bridge import Bridge, Event
from sse_bridge.backends.redis.keys import Keys
from sse_bridge.config import Policy
from sse_bridge.errors import SlowReader
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.stand import Site
from tests.support.redis_server import RedisServer
from tests.support.sse_client import SSEClient

PART = "Readers"
PREFIX: Final = "history"
POLICIES: Final[tuple[Policy, ...]] = ("catch_up", "drop_oldest", "drop_newest", "latest_only", "disconnect")
SKIPPING: Final = ("drop_oldest", "drop_newest", "latest_only")


class Reader:
    """One iterator with a policy; what it is given must follow what it was given before, or a gap that says why not."""

    def __init__(self, bridge: Bridge, policy: Policy, seed: int, tally: Tally) -> None:
        self.last = 0
        self.ended = False
        self._bridge = bridge
        self._policy = policy
        self._pauses = random.Random(seed)
        self._tally = tally
        self._after = "earliest"
        self._gap = False

    async def run(self) -> None:
        while not self.ended:
            async with self._bridge.asubscribe("c", after=self._after, policy=self._policy, queue_size=12) as stream:
                try:
                    async for event in stream:
                        self._saw(event)
                        if self._pauses.random() < (0.7 if event.type == "stream.gap" else 0.1):
                            await asyncio.sleep(self._pauses.choice((0.0, 0.002, 0.03)))
                except SlowReader:
                    pass  # it comes back with its last id

    def _saw(self, event: Event) -> None:
        position = event.position
        assert position is not None
        if event.id is not None:
            self._after = event.id
        if event.type == "stream.gap":
            self._tally.gaps += 1
            if event.data["reason"] != "slow" or self._policy not in SKIPPING:
                self._tally.wrong.append(f"{self._policy}: a gap {event.data} on a healthy broker, behind {self.last}")
            if position.offset < self.last:
                self._tally.wrong.append(f"{self._policy}: a gap leads back from {self.last} to {position.offset}")
            self.last = position.offset
            return
        if position.offset <= self.last:
            self._tally.doubled += 1
        elif position.offset > self.last + 1:
            self._tally.unannounced += 1
        self.last = position.offset
        self.ended = event.type == "stream.end"


@guarantee(
    "Bursts past slow readers of each policy whose window is shorter than their queue, the answers to reads being late",
    part=PART, promise="no gap but `slow`, none leads back, and no event comes twice",
)  # fmt: skip
def late_answers(scale: Scale) -> Tally:
    """`block` is the memory backend's, which answers at once."""
    tally = Tally(published=0, faults=0)
    tally.doubled = tally.unannounced = tally.lost = tally.gaps = 0
    with RedisServer() as server:
        asyncio.run(_late_answers(server.url, scale.pick(short=40, long=600), tally))
    return tally


def _delay_answers(bridge: Bridge, dice: random.Random) -> None:
    """Answers to reads come later than what is announced meanwhile."""
    backend: Any = bridge.backend
    read = backend.aread

    async def late(requests: Any) -> Any:
        pages = await read(requests)
        await asyncio.sleep(dice.choice((0.0, 0.005, 0.02)))
        return pages

    backend.aread = late


async def _late_answers(url: str, bursts: int, tally: Tally) -> None:
    settings: dict[str, Any] = {"prefix": PREFIX, "replay_size": 20_000}
    dice = random.Random(3)
    async with (
        Bridge(url, **settings) as publisher,
        Bridge(url, **settings, window_bytes=4096, max_write_bytes=4096) as bridge,
    ):
        _delay_answers(bridge, dice)
        readers = [Reader(bridge, policy, seed, tally) for policy in POLICIES for seed in range(4)]
        tasks = [asyncio.ensure_future(reader.run()) for reader in readers]
        for _ in range(bursts):
            for _ in range(dice.randint(1, 30)):
                await publisher.apublish("c", "x" * 600)
                tally.published += 1
            tally.faults += 1
            await asyncio.sleep(dice.choice((0.0, 0.005, 0.03)))
        await publisher.aclose_channel("c")
        _, left = await asyncio.wait(tasks, timeout=60)
        tally.lost = len(left)  # who never comes to the end
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Served:
    """A bridge, and uvicorn with another one."""

    def __init__(self, url: str, **settings: Any) -> None:
        self._site = Site(Bridge(url, prefix=PREFIX, **settings))
        self.bridge = Bridge(url, prefix=PREFIX, **settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bridge.close()
        self._site.stop()

    def address(self, channels: list[str]) -> str:
        return f"http://127.0.0.1:{self._site.port}/events?" + "&".join(f"channel={channel}" for channel in channels)

    def client(self, channels: list[str], last: str = "") -> SSEClient:
        return SSEClient(self.address(channels), last_event_id=last)

    def publish(self, channels: list[str], n: int, tally: Tally) -> None:
        for channel in channels:
            self.bridge.publish(channel, [channel, n])
            tally.published += 1


@guarantee(
    "a connection cut behind each frame of a stream that begins with a gap per channel",
    part=PART, promise="the client resumes with its last id, and nothing is missing without a gap",
)  # fmt: skip
def cut_gaps(scale: Scale) -> Tally:
    tally = Tally(published=0, faults=0)
    tally.lost = tally.doubled = tally.gaps = 0
    with RedisServer() as server, Served(server.url) as site:
        for number in range(scale.pick(short=1, long=30)):
            channels = [f"{name}:{number}" for name in "abc"]
            for frames in range(1, 2 * len(channels) + 2):  # the open frame, the gaps, an event of each
                _cut_behind(site, channels, frames, tally)
    return tally


def _cut_behind(site: Served, channels: list[str], frames: int, tally: Tally) -> None:
    last = "an-id-of-nowhere"
    with site.client(channels, last) as client:
        opened = client.take(1)
        site.publish(channels, 0, tally)
        for frame in [*opened, *client.take(frames - 1)]:
            last = frame.id or last
    tally.faults += 1
    site.publish(channels, 1, tally)  # while it is away
    told: list[str] = []
    seen: list[list[Any]] = []
    with site.client(channels, last) as client:
        client.take(1)
        site.publish(channels, 2, tally)
        while sum(n == 2 for _, n in seen) < len(channels):
            (frame,) = client.take(1)
            if frame.event == "stream.gap":
                told.append(json.loads(frame.data)["channel"])
            else:
                seen.append(json.loads(frame.data))
    tally.gaps += len(told)
    tally.lost += sum([channel, 1] not in seen and channel not in told for channel in channels)
    tally.doubled += len(seen) - len({(channel, n) for channel, n in seen})
    if last != "an-id-of-nowhere" and told:
        tally.wrong.append(f"cut behind {frames} frames it was told of {told} again")


@guarantee(
    "the broker loses a log that is closed, or only its end, and the channel goes on",
    part=PART,
    promise="readers of other channels besides are told, and who comes back with the id of the end gets what follows and no 204",
)
def lost_ends(scale: Scale) -> Tally:
    tally = Tally(published=0, faults=0)
    tally.lost = tally.doubled = tally.gaps = tally.unannounced = 0
    with RedisServer() as server, Served(server.url, check_seconds=0.5) as site, redis.Redis(port=server.port) as admin:
        for number in range(scale.pick(short=2, long=40)):
            _lose_the_end(site, admin, f"run:{number}", f"user:{number}", number % 2 == 0, tally)
    return tally


def _lose_the_end(site: Served, admin: Any, run: str, user: str, whole: bool, tally: Tally) -> None:
    keys = [key.decode() for key in Keys(PREFIX, 0).of(run)]
    site.publish([run, run, user], 0, tally)
    kept = [admin.dump(key) for key in keys]
    with site.client([run, user]) as there:
        there.take(1)
        site.bridge.close_channel(run)
        there.take(1)
        with site.client([run], f"{site.bridge.position(run)}") as ended:
            if ended.status != 204:
                tally.wrong.append(f"an end that stands was answered {ended.status}")
        end = site.bridge.position(run)
        admin.delete(*keys)
        if not whole:
            for key, value in zip(keys, kept, strict=True):
                admin.restore(key, 0, value)
        tally.faults += 1
        site.publish([run] * 4, 1, tally)
        with site.client([run], end) as back:
            if back.status != 200:
                tally.lost += 1
                return
            for client, told in ((there, there.take(1)), (back, back.take(2)[1:])):
                reason = json.loads(told[0].data).get("reason") if told[0].event == "stream.gap" else None
                tally.gaps += reason is not None
                if reason != ("epoch" if whole else "diverged"):
                    tally.unannounced += 1
                # Behind `diverged` the reader stands where its end stood, at offset 3: the gap stands for what is there now.
                count = 4 if whole else 3
                got = [json.loads(frame.data) for frame in client.take(count)]
                tally.lost += count - got.count([run, 1])
        site.bridge.publish(user, "on")
        (last,) = there.take(1)
        if not whole and json.loads(last.data) == [run, 1]:
            # A check between the loss and the publishes leads to the head of that moment, behind which all four come.
            (last,) = there.take(1)
        if last.data != '"on"':
            tally.wrong.append("the other channel's event did not come")
        ids = [frame.id for frame in there.frames if frame.event == "message" and json.loads(frame.data) == [run, 1]]
        tally.doubled += len(ids) - len(set(ids))
