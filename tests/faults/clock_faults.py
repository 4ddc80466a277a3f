"""Jumps of the wall clock, an hour forth and back: what waits or counts goes by the monotonic clock and notices nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sse_bridge import Bridge
from tests.faults.broker_faults import publish_with_reply_lost
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.serving import add_figures, publishing, serving
from tests.faults.stand import TICK_SECONDS, late_seconds
from tests.support.crowd import Crowd
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.requires import find_faketime
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for

HOUR: Final = 3600.0
JUMPS: Final = (HOUR, -HOUR)
READERS: Final = 10
HEARTBEAT_SECONDS: Final = 0.5


@guarantee(
    "The server's wall clock jumps an hour forth and back",
    part="Clocks",
    promise="streams go on, heartbeats too, none comes too late",
)
def jumping_server(scale: Scale) -> Tally:
    tally = Tally()
    # An hour is the longest life of a stream here, so a clock that jumps as far would end all of them.
    settings = {
        "heartbeat_seconds": HEARTBEAT_SECONDS,
        "max_stream_seconds": HOUR,
        "check_seconds": 0.5,
        "link_timeout_seconds": 2,
    }
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        site = stack.enter_context(serving("uvicorn", redis.url, **settings))
        crowd = stack.enter_context(Crowd(site.stream("a"), READERS))
        crowd.wait(lambda member: member.open, what="every stream to open")
        quiet = stack.enter_context(SSEClient(site.stream("quiet")))
        with publishing(site.bridge, "a", every=0.02) as published:
            latest = 0.0
            for jump in JUMPS * scale.pick(1, 20):
                before = time.time()
                assert abs(site.get(f"/jump?seconds={jump}") - before - jump) < HOUR / 2, (
                    "the site's clock did not jump"
                )
                tally.faults += 1
                while quiet.read(0):
                    pass  # what came while nobody looked
                beats, seen, began = len(quiet.parser.comments), published[0], time.monotonic()
                wait_for(lambda beats=beats: quiet.read(0.1) and len(quiet.parser.comments) > beats)
                latest = max(latest, time.monotonic() - began)
                wait_for(lambda seen=seen: all(member.next > seen + 5 for member in crowd.members))
        crowd.wait(lambda member: member.next == published[0])
        add_figures(tally, crowd, published[0])
        tally.notes.append(
            f"the next heartbeat came after {latest:.1f} s at the latest, with one each {HEARTBEAT_SECONDS} s"
        )
        if latest > HEARTBEAT_SECONDS + TICK_SECONDS + late_seconds(scale):
            tally.wrong.append(f"a heartbeat each {HEARTBEAT_SECONDS} s came after {latest:.1f} s")
        ended = sum(len(member.visits) > 1 or not member.open for member in crowd.members)
        if ended or quiet.ended:
            tally.wrong.append(f"{ended} of {READERS} streams ended, the quiet one: {quiet.ended!r}")
    return tally


@contextmanager
def wall_clock() -> Iterator[list[float]]:
    """`time.time` of this process plus the item of the list."""
    jump = [0.0]
    real = time.time
    time.time = lambda: real() + jump[0]
    try:
        yield jump
    finally:
        time.time = real


@guarantee(
    "The publisher's wall clock jumps between a lost reply and the retry",
    part="Clocks",
    promise="the event is there once",
)
def jumping_publisher(scale: Scale) -> Tally:
    tally = Tally()
    with (
        RedisServer() as redis,
        Proxy(redis.port) as network,
        Bridge(network.redis_url) as bridge,
        Bridge(redis.url) as other,
        other.subscribe("a") as stream,
        wall_clock() as jump,
    ):
        assert stream.wait_ready(60)
        bridge.publish("a", 0)
        for number in range(1, 1 + scale.pick(4, 40)):
            network.drop_reply(after=b"EVALSHA")
            jump[0] = (HOUR, -HOUR)[number % 2]
            bridge.publish("a", number)
            assert network.reply_dropped, "no reply was lost"
            tally.faults += 1
        seen = []
        while len(seen) <= tally.faults:
            event = stream.next(timeout=60)
            if event is None:
                break
            seen.append(event.data)
        assert stream.next(timeout=0.2) is None
    tally.published = tally.faults + 1
    tally.lost = tally.published - len(set(seen))
    tally.doubled = len(seen) - len(set(seen))
    tally.reordered = int(seen != sorted(seen))
    return tally


@guarantee(
    "Redis's wall clock jumps an hour forth and back between a lost reply and the retry, among 15 other events",
    part="Clocks",
    promise="the event is there once",
    needs=("redis7", "faketime"),
)
def jumping_redis(scale: Scale) -> Tally:
    tally = Tally()
    settings = {"replay_seconds": 24 * HOUR, "publish_timeout_seconds": 20}  # an hour must not make the log expire
    with ExitStack() as stack:
        offset = Path(stack.enter_context(TemporaryDirectory())) / "offset"
        offset.write_text("+0\n")
        env = {
            # libc before Debian's jemalloc, which asks for the time before libfaketime is ready, and then hangs
            "LD_PRELOAD": f"{find_faketime()}:libc.so.6",
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        redis = stack.enter_context(RedisServer(env=env))
        network = stack.enter_context(Proxy(redis.port))
        bridge = stack.enter_context(Bridge(network.redis_url, **settings))
        others = stack.enter_context(Bridge(redis.url, **settings))

        def meanwhile(jump: float) -> None:
            others.publish_many([("a", "other")] * 7)
            before = clock_of(redis)
            offset.write_text(f"{jump:+.0f}\n")
            wait_for(lambda: abs(clock_of(redis) - before) > HOUR / 2, what="the clock to jump")
            others.publish_many([("a", "other")] * 8)

        for number in range(scale.pick(2, 20)):
            jump = (HOUR, 0.0)[number % 2]
            outcome = publish_with_reply_lost(bridge, network, "a", lambda jump=jump: meanwhile(jump))  # type: ignore[misc]
            tally.faults += 1
            if outcome != "Position":
                tally.wrong.append(f"expected a position, got {outcome}")
        seen = [event.data for event in others.history("a", limit=10_000)]
    tally.published = 16 * tally.faults
    tally.doubled = max(0, seen.count("mine") - tally.faults)
    tally.lost = max(0, tally.published - len(seen))
    return tally


def clock_of(redis: RedisServer) -> float:
    """What Redis says the time is, in seconds."""
    return float(redis.command("TIME").split(b"\r\n")[2])
