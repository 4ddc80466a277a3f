"""SIGTERM of a server with many open streams while events pass: each stream ends properly, all come back, nothing is lost."""

from __future__ import annotations

import math
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final, NamedTuple

from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.serving import add_figures, publishing, serving
from tests.support.crowd import Crowd, Member, Visit
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for


class Server(NamedTuple):
    """A way to run the site.

    Attributes:
        name: as the table calls it.
        kind: of server.
        arguments: its own.
        says_goodbye: the last frame of each stream says when to come back; a default hypercorn puts no handler of ours
            through (traps: its signal handlers replace ours, and it cancels the requests after its own grace).
        most: streams at once, where each holds a thread.
    """

    name: str
    kind: str
    arguments: Sequence[str] = ()
    says_goodbye: bool = True
    most: int = 500


SERVERS: Final = (
    Server("uvicorn", "uvicorn"),
    Server("gunicorn with gevent workers", "gunicorn-gevent"),
    Server("gunicorn with threads", "gunicorn-gthread", ("--threads", "120"), most=100),
    Server("gunicorn with uvicorn workers", "gunicorn-uvicorn"),
    Server("daphne", "daphne"),
    Server("granian", "granian"),
    Server("hypercorn -w 0", "hypercorn", ("-w", "0")),
    Server("hypercorn", "hypercorn", says_goodbye=False),
)
DRAIN_SECONDS: Final = 1.0
RETRY_MS: Final = (500, 2000)
GRACE_SECONDS: Final = 15.0  # hypercorn cancels after 3 s of its own; the rest is for a loaded machine
SETTINGS: Final = {
    "drain_seconds": DRAIN_SECONDS,
    "retry_min_ms": RETRY_MS[0],
    "retry_max_ms": RETRY_MS[1],
    "replay_size": 100_000,
    "heartbeat_seconds": 2,
}


def ending(visit: Visit) -> str:
    """How a connection ended, in words."""
    if visit.inside_frame:
        return "inside a frame"
    last = visit.last
    if last is not None and last.event == "stream.close" and last.retry is not None and visit.ended == "complete":
        return "goodbye"
    return visit.ended


def restart(how: Server, scale: Scale) -> Tally:
    """Restarts a server on the same port under many readers and a publisher."""
    count = min(scale.pick(30, 500), how.most)
    tally = Tally()
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        serve = partial(serving, how.kind, redis.url, arguments=how.arguments, **SETTINGS)
        site = stack.enter_context(serve())
        crowd = stack.enter_context(Crowd(site.stream("a"), count))
        crowd.wait(lambda member: member.open, 60, what="every stream to open")
        # no more than the readers, which share one core with the test, can take without lagging behind
        with publishing(site.bridge, "a", every=max(0.01, count / 4000)) as published:
            crowd.wait(lambda member: member.count > 5, what="the first events")
            told = time.monotonic()
            site.server.process.signal(signal.SIGTERM)
            site.server.process.wait(GRACE_SECONDS)
            exit_seconds = time.monotonic() - told
            tally.faults += 1
            crowd.wait(lambda member: member.visits[0].ended, what="every stream to end")
            stack.enter_context(serve(port=site.server.port))
            crowd.wait(lambda member: len(member.visits) > 1, 60, what="everybody to come back")
            seen = published[0]
            wait_for(lambda: published[0] > seen + 5, what="more events")
        crowd.wait(lambda member: member.next == published[0], 60, what="the last event")
        add_figures(tally, crowd, published[0])
        endings = Counter(ending(member.visits[0]) for member in crowd.members)
        tenths = histogram([tried_again(member) - told for member in crowd.members])
    expected = "goodbye" if how.says_goodbye else "cut"
    tally.notes.append(f"{count} streams, {expected}, exit after {exit_seconds:.1f} s, reconnects by tenth {tenths}")
    if set(endings) != {expected}:
        tally.wrong.append(f"expected every stream to end with {expected}, got {dict(endings)}")
    # The end is uniform over the drain and the return over retry: no tenth of the window gets much more than a sixth.
    if how.says_goodbye and (max(tenths) > 0.5 * count or sum(number > 0 for number in tenths) < 5):
        tally.wrong.append(f"the reconnects are not spread: {tenths}")
    return tally


def tried_again(member: Member) -> float:
    """When it first tried to come back."""
    return next(when for when in member.tried_at if when > member.visits[0].ended_at)


def histogram(seconds: Sequence[float]) -> list[int]:
    """How many of the reconnects fell into each tenth of the time in which they should, which a loaded machine stretches."""
    first, last = RETRY_MS[0] / 1000, max(DRAIN_SECONDS + RETRY_MS[1] / 1000, *seconds)
    counts = [0] * 10
    for when in seconds:
        counts[min(9, max(0, math.floor((when - first) / (last - first) * 10)))] += 1
    return counts


for each in SERVERS:
    guarantee(
        f"SIGTERM of {each.name}",
        part="Processes",
        promise="every stream ends on a frame with its own retry, all resume, none at once"
        if each.says_goodbye
        else "streams are cut after 3 s; all resume",
        soak=each.kind != "uvicorn",
        id=f"sigterm_{each.name.replace(' ', '_')}",
    )(partial(restart, each))
