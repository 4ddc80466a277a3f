"""Thousands of channels, more than the process may keep windows of: memory stays, and who comes back misses nothing."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final
from urllib.parse import quote

from sse_bridge import Event
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.serving import add_figures, memory_of, serving
from tests.support.crowd import Crowd
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

BUDGET_MB: Final = 16
DATA_BYTES: Final = 8192
EVENTS: Final = 32  # of a channel: 256 KiB of its window
PER_STREAM: Final = 20  # channels
BREATH_MB: Final = 24  # pools, a reader's own objects, and what malloc cannot give back between two windows
LATE: Final = 8  # channels of which somebody comes back to the beginning


@guarantee(
    "More channels than the process may keep windows of",
    part="Readers",
    promise=f"memory grows by `windows_max_bytes` and {BREATH_MB} MB at most, however many channels are followed; who comes back to "
    "the beginning of one whose window gave way gets everything",
)
def many_windows(scale: Scale) -> Tally:
    streams = scale.pick(10, 60)
    channels = [f"c:{number}" for number in range(streams * PER_STREAM)]
    tally = Tally(faults=len(channels))
    settings = {"windows_max_bytes": BUDGET_MB * 2**20, "heartbeat_seconds": 30}
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        site = stack.enter_context(serving("uvicorn", redis.url, **settings))
        for first in range(0, len(channels), PER_STREAM):
            names = "&channel=".join(map(quote, channels[first : first + PER_STREAM]))
            crowd = stack.enter_context(Crowd(site.stream(names), 1))
            crowd.wait(lambda member: member.open, 60)
        before = memory_of(site.server.process.pid)
        fill = "x" * DATA_BYTES
        for n in range(EVENTS):
            data = {"n": n, "at": 0, "fill": fill}
            for start in range(0, len(channels), 100):
                site.bridge.publish_many([Event(name, data) for name in channels[start : start + 100]])
        late = [stack.enter_context(Crowd(site.stream(name, "&after=earliest"), 1)) for name in channels[:LATE]]
        for crowd in late:
            crowd.wait(lambda member: member.next == EVENTS, 60)
            add_figures(tally, crowd, EVENTS)
        wait_for(lambda: site.get("/counts")["readers"] == streams + LATE)
        after = memory_of(site.server.process.pid)
    grown = (after - before) / 2**20
    whole = len(channels) * EVENTS * DATA_BYTES / 2**20
    tally.notes.append(
        f"{whole:.0f} MB past {len(channels)} channels, {BUDGET_MB} MB for their windows: memory {grown:+.0f} MB"
    )
    if grown > BUDGET_MB + BREATH_MB:
        tally.wrong.append(f"memory grew by {grown:.0f} MB, expected {BUDGET_MB + BREATH_MB} at most")
    return tally
