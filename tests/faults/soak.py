"""A constant load with churn for many minutes: `make soak`. Is memory flat, and was nothing lost?

    SOAK_SECONDS=300 python -m tests.faults.soak

One uvicorn and one gunicorn with gevent serve steady readers of one channel, and visitors that come and go; events are
published at a steady pace. Once a second the memory of each server is read (what is its own: a file that is mapped is shared with whoever else runs).
The slope is that of the least-squares line through the means of twenty blocks of the time behind a warm-up, for samples of
one second depend on one another; its 95 % interval is Student's. A server grows if even the interval's lower end would
add more than 2 % of its memory (at least 1 MiB) during the time that was measured.

What a process keeps of a channel is bounded and must be full before anything can be flat: 1 MiB of recent events
(`window_bytes`), which events of a kilobyte fill in half a minute, and the checks of the 4,096 before, in three more.

A run of twenty minutes or more that went well is kept in soak.json; the page's last section is made of that, here and by
`make guarantees`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.faults.churn import come_and_go, requests_of
from tests.faults.registry import Tally
from tests.faults.serving import Served, add_figures, memory_of, publishing, serving
from tests.support.crowd import Crowd
from tests.support.process import ROOT
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

READERS: Final = 40  # of each server, that stay; their streams end and resume every minute
EVERY_SECONDS: Final = 0.04
EVENT_BYTES: Final = 1024
BLOCKS: Final = 20
STUDENT: Final = 2.101  # two-sided 95 %, 18 degrees of freedom
WARM_UP_SECONDS: Final = 240.0  # but no more than half of the time
KEPT_SECONDS: Final = 1200.0
RESULT: Final = Path(__file__).with_name("soak.json")
PAGE: Final = ROOT / "docs" / "guarantees.md"
HEADING: Final = "### Soak"
SERVERS: Final = ("uvicorn", "gunicorn-gevent")
SETTINGS: Final = {
    "heartbeat_seconds": 1,
    "linger_seconds": 1,
    "replay_size": 500,
    "max_stream_seconds": 60,
    "retry_min_ms": 200,
    "retry_max_ms": 1000,
}


class Slope(NamedTuple):
    """Bytes per second."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        each_hour = [part * 3600 / 2**20 for part in self]
        return f"{each_hour[0]:+.2f} MiB/h (95 %: {each_hour[1]:+.2f} to {each_hour[2]:+.2f})"


def slope_of(samples: Sequence[tuple[float, float]]) -> Slope:
    """The least-squares slope of (seconds, bytes) through the means of blocks, and its interval."""
    assert len(samples) >= 3 * BLOCKS, f"expected at least {3 * BLOCKS} samples, got {len(samples)}"
    size = len(samples) / BLOCKS
    blocks = [samples[int(n * size) : int((n + 1) * size)] for n in range(BLOCKS)]
    times = [statistics.fmean(when for when, _ in block) for block in blocks]
    values = [statistics.fmean(value for _, value in block) for block in blocks]
    line = statistics.linear_regression(times, values)
    rest = sum((value - line.slope * when - line.intercept) ** 2 for when, value in zip(times, values, strict=True))
    middle = statistics.fmean(times)
    error = math.sqrt(rest / (BLOCKS - 2) / sum((when - middle) ** 2 for when in times))
    return Slope(line.slope, line.slope - STUDENT * error, line.slope + STUDENT * error)


def grows(samples: Sequence[tuple[float, float]], slope: Slope) -> bool:
    """Whether the memory grew for certain, and by more than a process breathes."""
    seconds = samples[-1][0] - samples[0][0]
    return slope.low * seconds > max(2**20, 0.02 * statistics.fmean(value for _, value in samples))


class Visitors:
    """Clients that come and go at one server, a few at once, until the end."""

    def __init__(self, site: Served) -> None:
        self.visits = 0
        self.error: BaseException | None = None
        self._port = site.server.port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.5):
                asyncio.run(come_and_go(self._port, requests_of("steady", "long"), 16))
                self.visits += 16
        except BaseException as error:  # shown at the end, and makes the run fail
            self.error = error

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


class Run(NamedTuple):
    """What came of a load.

    Attributes:
        tally: of the readers that stay.
        samples: (seconds, bytes), one per second, of each server.
        resumed: how often a reader came back.
        visits: how many came and went.
    """

    tally: Tally
    samples: list[list[tuple[float, float]]]
    resumed: int
    visits: int


def run(seconds: float, servers: Sequence[str] = SERVERS, readers: int = READERS, **settings: int) -> Run:
    """The load, for so many seconds, on servers of these kinds; settings over `SETTINGS`."""
    tally = Tally()
    options: dict[str, Any] = {**SETTINGS, **settings}
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        sites = [stack.enter_context(serving(kind, redis.url, collect=True, **options)) for kind in servers]
        for _ in range(130):
            sites[0].bridge.publish("long", "x" * 60 * 1024)
        crowds = [stack.enter_context(Crowd(site.stream("steady"), readers)) for site in sites]
        for crowd in crowds:
            crowd.wait(lambda member: member.open, 60, what="the readers")
        visitors = [Visitors(site) for site in sites]
        samples: list[list[tuple[float, float]]] = [[] for _ in sites]
        began = time.monotonic()
        try:
            with publishing(sites[0].bridge, "steady", EVERY_SECONDS, EVENT_BYTES) as published:
                for second in itertools.count(1):
                    wait_for(lambda due=began + second: time.monotonic() >= due, what="the next second")
                    for site, taken in zip(sites, samples, strict=True):
                        taken.append((time.monotonic(), memory_of(site.server.process.pid)))
                    if second >= seconds:
                        break
        finally:
            for each in visitors:
                each.end()
        for crowd in crowds:
            crowd.wait(lambda member: member.next == published[0], 60, what="the last event")
            add_figures(tally, crowd, 0)
        tally.published = published[0]
        resumed = sum(len(member.visits) - 1 for crowd in crowds for member in crowd.members)
        visits = sum(each.visits for each in visitors)
    tally.wrong += [f"visitors failed: {each.error!r}" for each in visitors if each.error is not None]
    return Run(tally, samples, resumed, visits)


def soak(seconds: float) -> bool:
    """Runs it and says what came of it; whether all went well."""
    measured = commit()
    tally, samples, resumed, visits = run(seconds)
    result = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": measured,
        "minutes": round(seconds / 60, 1),
        "warm_up_minutes": round(min(WARM_UP_SECONDS, seconds / 2) / 60, 1),
        "readers": READERS,
        "resumed": resumed,
        "visits": visits,
        **{name: getattr(tally, name) for name in ("published", "lost", "doubled", "reordered", "gaps")},
        "memory": {kind: memory(kind, taken, tally) for kind, taken in zip(SERVERS, samples, strict=True)},
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text, *tally.wrong, sep="\n")
    if tally.kept and seconds >= KEPT_SECONDS:
        RESULT.write_text(text, "utf-8")
        page = PAGE.read_text("utf-8")
        PAGE.write_text("\n".join([page[: page.index(HEADING)] + HEADING, *section()]), "utf-8")
    return tally.kept


def commit() -> str:
    """What is measured: the commit's short hash, "+ changes" where the checkout holds others than pages of figures."""
    results = [f":!{path.relative_to(ROOT)}" for path in (PAGE, RESULT)]

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changes = git("status", "--porcelain", "--", ".", *results)
    return git("rev-parse", "--short", "HEAD") + (" + changes" if changes else "")


def memory(kind: str, taken: Sequence[tuple[float, float]], tally: Tally) -> dict[str, object]:
    """What the samples of one server say; it is wrong if they grow."""
    measured = taken[min(int(WARM_UP_SECONDS), len(taken) // 2) :]
    slope = slope_of(measured)
    if grows(measured, slope):
        tally.wrong.append(f"the memory of {kind} grows by {slope}")
    tenth = len(taken) / 10
    tenths = [taken[int(n * tenth) : int((n + 1) * tenth)] for n in range(10)]
    means = [round(statistics.fmean(value for _, value in part) / 2**20, 1) for part in tenths]
    return {"MiB by tenth": means, "slope": str(slope)}


def section() -> list[str]:
    """Lines for the page behind the heading: what the last soak that was kept came to."""
    if not RESULT.exists():
        return ["", "Not measured yet.", ""]
    found = json.loads(RESULT.read_text("utf-8"))
    rows = [
        f"| {kind} | {' '.join(map(str, each['MiB by tenth']))} | {each['slope']} |"
        for kind, each in found["memory"].items()
    ]
    at = f" at commit {found['commit']}" if "commit" in found else ""
    told = (
        f"`make soak` on {found['date']}{at}, {found['minutes']:.0f} minutes: {found['published']:,} events to "
        f"{found['readers']} readers of each server, which resumed {found['resumed']:,} times in all, while "
        f"{found['visits']:,} visitors came and went: {found['lost']} lost, {found['doubled']} doubled, "
        f"{found['reordered']} reordered, {found['gaps']} gaps."
    )
    slope = f"slope behind a warm-up of {found['warm_up_minutes']:.0f} minutes"
    return ["", told, "", f"| server | MiB by tenth of the time | {slope} |", "|---|---|---|", *rows, ""]


if __name__ == "__main__":
    sys.exit(not soak(float(os.environ.get("SOAK_SECONDS", "1200"))))
