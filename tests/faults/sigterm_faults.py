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
        soak: in the long form only.
    """

    name: str
    kind: str
    arguments: Sequence[str] = ()
    soak: bool = True


SERVERS: Final = (
    Server("uvicorn", "uvicorn", soak=False),
    Server("gunicorn with gevent workers", "gunicorn-gevent"),
    Server("gunicorn with threads", "gunicorn-gthread", ("--threads", "520")),
    Server("gunicorn with uvicorn workers", "gunicorn-uvicorn"),
    Server("daphne", "daphne", soak=False),
    Server("granian", "granian"),
    Server("hypercorn -w 0", "hypercorn", ("-w", "0")),
    Server("hypercorn", "hypercorn"),
)
GRACE_SECONDS: Final = 25.0  # the drain's own grace is 2 s, hypercorn's 3; the rest is for a loaded machine
SETTINGS: Final = {"replay_size": 100_000, "heartbeat_seconds": 2}


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
    count = scale.pick(30, 500)
    between = scale.pick(100, 500), scale.pick(900, 2000)  # the retries, in milliseconds
    times = {"drain_seconds": scale.pick(4, 10) / 10, "retry_min_ms": between[0], "retry_max_ms": between[1]}
    tally = Tally()
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        serve = partial(serving, how.kind, redis.url, arguments=how.arguments, **SETTINGS, **times)
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
        judge_goodbyes(tally, crowd, told, between, f"exit after {exit_seconds:.1f} s")
    return tally


def judge_goodbyes(tally: Tally, crowd: Crowd, told: float, between: tuple[int, int], note: str) -> None:
    """How the first connection of every reader ended, and when they came back.

    Args:
        told: when the server was told to go, or went by itself (`time.monotonic`).
        between: the settings' least and greatest retry.
    """
    endings = Counter(ending(member.visits[0]) for member in crowd.members)
    last = [member.visits[0].last for member in crowd.members]
    retries = [frame.retry for frame in last if frame is not None and frame.retry is not None]
    ends = [member.visits[0].ended_at - told for member in crowd.members]
    tries = [tried_again(member) - told for member in crowd.members]
    if set(endings) != {"goodbye"}:
        tally.wrong.append(f"expected every stream to end with its last frame, got {dict(endings)}")
        return
    tally.wrong += badly_spread(between, retries, ends, tries)
    tally.notes.append(
        f"{len(tries)} streams, {note}, {len(set(retries))} different retries, reconnects by tenth "
        f"{tenths(tries, *back_between(between, ends))}"
    )


def tried_again(member: Member) -> float:
    """When it first tried to come back."""
    return next(when for when in member.tried_at if when > member.visits[0].ended_at)


def badly_spread(
    between: tuple[int, int], retries: Sequence[int], ends: Sequence[float], tries: Sequence[float]
) -> list[str]:
    """What is wrong with how the readers come back.

    Args:
        between: the settings' least and greatest retry.
        retries: what each was told, in milliseconds.
        ends, tries: when its stream ended, and when it tried again, in seconds since the signal.
    """
    count = len(retries)
    wrong = []
    first, last = between
    if not first <= min(retries) <= max(retries) <= last:
        wrong.append(f"retries must lie between {first} and {last} ms, got {min(retries)} to {max(retries)}")
    # Of 500 numbers out of 1,501, chance makes 425 different ones, give or take 8.
    if len(set(retries)) < 0.75 * count:
        wrong.append(f"{count} streams were told no more than {len(set(retries))} different retries")
    told = tenths(retries, first, last)
    if max(told) > most_of(count, 1 / 10):
        wrong.append(f"the retries are not spread: {told}")
    early = [back - end - retry / 1000 for back, end, retry in zip(tries, ends, retries, strict=True)]
    if min(early) < 0:
        wrong.append(f"a reader came back {-min(early):.3f} s before it was told to")
    # The end is uniform over the drain, the return over the retry, so no tenth of the time between the first and the last
    # possible return should get more than a sixth. A busy machine moves some of them: three times a tenth. One that stood
    # still bunches them, and then most came back late.
    back = tenths(tries, *back_between(between, ends))
    late = [each for each in early if each > (last - first) / 10_000]
    if len(late) < count / 4 and max(back) > max(0.3 * count, most_of(count, 1 / 6)):
        wrong.append(f"the reconnects are not spread: {back}")
    return wrong


def back_between(between: tuple[int, int], ends: Sequence[float]) -> tuple[float, float]:
    """The time in which the readers should come back, from the first end on to the last."""
    return min(ends) + between[0] / 1000, max(ends) + between[1] / 1000


def most_of(count: int, share: float) -> float:
    """How many of them chance puts into a share of the time at most: six standard deviations above the mean."""
    return count * share + 6 * math.sqrt(count * share * (1 - share))


def tenths(values: Sequence[float], first: float, last: float) -> list[int]:
    """How many values fell into each tenth of a range; what is outside counts to its end."""
    counts = [0] * 10
    for value in values:
        counts[min(9, max(0, math.floor((value - first) / (last - first) * 10)))] += 1
    return counts


for each in SERVERS:
    guarantee(
        f"SIGTERM of {each.name}",
        part="Processes",
        promise="every stream ends on a frame with its own retry, all resume, spread over the time they were told",
        soak=each.soak,
        id=f"sigterm_{each.name.replace(' ', '_')}",
    )(partial(restart, each))
