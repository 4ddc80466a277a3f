"""Thousands of clients that come and go, idle, blocked in a write and inside the handshake: nothing of them stays.

The sites run without the garbage collector, so what only a collection would give back counts as held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final, NamedTuple

from tests.faults.churn import come_and_go, requests_of
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.serving import Served, serving
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

SETTINGS: Final = {"heartbeat_seconds": 0.3, "linger_seconds": 0, "replay_size": 200}
BACKLOG_EVENTS: Final = 130  # of 60 KiB: twice what the kernel and any server buffer for one connection
WARM_UP: Final = 48
# A server's own pools (threads, greenlets, tasks of connections that it has not cleared away yet) breathe a little.
BREATH: Final = 3

_WEBSOCKET: Final = (
    b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
)


def left(site: Served, redis: RedisServer) -> dict[str, int]:
    """What the process holds, and how many clients its Redis has."""
    counts: dict[str, int] = site.get("/counts")
    counts["redis clients"] = redis.command("CLIENT", "LIST").count(b"\nid=")
    return counts


def more_than(before: dict[str, int], after: dict[str, int]) -> dict[str, tuple[int, int]]:
    """What there is more of."""
    return {
        name: (before.get(name, 0), count)
        for name, count in after.items()
        if count > before.get(name, 0) + (0 if name in ("readers", "streams") else BREATH)
    }


class Server(NamedTuple):
    """Where the visitors go.

    Attributes:
        name: as the table calls it.
        kind: of server.
        arguments: its own.
        headers: what the visitors add to their requests.
        soak: in the long form only.
    """

    name: str
    kind: str
    arguments: Sequence[str] = ()
    headers: bytes = b""
    soak: bool = True


SERVERS: Final = (
    Server("Visits to uvicorn", "uvicorn", soak=False),
    Server("WebSocket visits to uvicorn", "uvicorn", headers=_WEBSOCKET, soak=False),
    Server("Visits to hypercorn", "hypercorn"),
    Server("Visits to daphne", "daphne", soak=False),
    Server("Visits to granian", "granian", soak=False),
    Server("Visits to gunicorn with gevent workers", "gunicorn-gevent"),
    Server("Visits to gunicorn with threads", "gunicorn-gthread", ("--threads", "64")),
)


def cycles(how: Server, scale: Scale) -> Tally:
    """Visits to one server over one transport."""
    count = scale.pick(80, 10_000)
    requests = requests_of("quiet", "long", how.headers)
    tally = Tally(faults=count)
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        site = stack.enter_context(serving(how.kind, redis.url, arguments=how.arguments, **SETTINGS))
        for _ in range(BACKLOG_EVENTS):
            site.bridge.publish("long", "x" * 60 * 1024)
            tally.published += 1
        port = site.server.port
        asyncio.run(come_and_go(port, requests, WARM_UP))
        wait_for(lambda: site.get("/counts")["readers"] == 0, what="the first visitors to be forgotten")
        before = settled(site, redis)
        asyncio.run(come_and_go(port, requests, count))
        try:
            wait_for(lambda: not more_than(before, left(site, redis)))
        except AssertionError:
            tally.wrong.append(f"left behind by {count} visits: {more_than(before, left(site, redis))}")
    return tally


def settled(site: Served, redis: RedisServer) -> dict[str, int]:
    """The counts once they stay the same."""
    last: list[dict[str, int]] = [{}]

    def same() -> bool:
        before, last[0] = last[0], left(site, redis)
        return before == last[0]

    wait_for(same, what="the counts to stay the same")
    return last[0]


for each in SERVERS:
    guarantee(
        each.name,
        part="Readers",
        promise="tasks, threads, greenlets, files, Redis clients and objects return to the start",
        soak=each.soak,
        id=each.name.lower().replace(" ", "_"),
    )(partial(cycles, each))
