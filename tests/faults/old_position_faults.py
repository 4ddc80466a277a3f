"""Clients that come back far behind, each at a place of its own, and read nothing: none keeps its page of the log."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Final

from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.serving import Served, add_figures, memory_of, serving
from tests.faults.slow_reader_faults import SERVERS, SHARED_MB, WRITE_MB, Server, silent
from tests.support.crowd import Crowd
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

DATA_BYTES: Final = 4096  # a page of the log is as many of these as fit into a megabyte
ENTRIES: Final = 4000  # behind the last of the places are still twice as many as the kernel takes for one connection
STEP: Final = 20  # entries between two places
BREATH_MB: Final = 12  # pools, and the pages that are under way at once
CROWD: Final = 3


def blocked(how: Server, scale: Scale) -> Tally:
    """Silent clients at old positions, and a few that read everything meanwhile."""
    count = scale.pick(30, 60)
    tally = Tally(faults=count)
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        site = stack.enter_context(
            serving(how.kind, redis.url, arguments=how.arguments, replay_size=2 * ENTRIES, heartbeat_seconds=30)
        )
        fill = "x" * DATA_BYTES
        ids = [str(site.bridge.publish("a", {"n": n, "at": 0, "fill": fill})) for n in range(ENTRIES)]
        first = stack.enter_context(Crowd(site.stream("a"), 1))
        first.wait(lambda member: member.open, 30)
        before = settled(site)
        for place in range(count):
            stack.enter_context(silent(site.stream("a", f"&after={ids[place * STEP]}"), 1))
        wait_for(lambda: site.get("/counts")["readers"] == count + 1, what="the silent readers to be served")
        after = settled(site)
        crowd = stack.enter_context(Crowd(site.stream("a", "&after=earliest"), CROWD))
        crowd.wait(lambda member: member.next == ENTRIES, 60)
        add_figures(tally, crowd, ENTRIES)
    grown = (after - before) / 2**20
    tally.notes.append(f"{count} clients at {count} old positions read nothing: memory {grown:+.0f} MB")
    most = SHARED_MB + BREATH_MB + count * (WRITE_MB + how.buffer_mb)
    if grown > most:
        tally.wrong.append(f"memory grew by {grown:.0f} MB, expected {most:.0f} at most")
    return tally


def settled(site: Served) -> int:
    """The bytes of the site's process once they stay the same: nobody is served any more."""
    last = [0]

    def same() -> bool:
        before, last[0] = last[0], memory_of(site.server.process.pid)
        site.get("/counts")  # takes a moment, and needs the process to come to it
        return abs(last[0] - before) < 2**18

    wait_for(lambda: all([same() for _ in range(5)]), 60, what="the memory to stay the same")
    return last[0]


for each in SERVERS:
    if each.backpressure:
        guarantee(
            f"Clients at different old positions that read nothing, {each.name}",
            part="Readers",
            promise=f"each holds one write and what the server buffers ({(WRITE_MB + each.buffer_mb) * 1024:.0f} KiB) and no page "
            "of the log; whoever reads gets everything",
            soak=each.kind != "uvicorn",
            id=f"old_positions_{each.name.replace(' ', '_')}",
        )(partial(blocked, each))
