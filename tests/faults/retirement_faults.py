"""Workers that retire without a signal, with many open streams while events pass: each stream ends properly, all come back."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.serving import Served, add_figures, publishing, serving
from tests.faults.sigterm_faults import SETTINGS, judge_goodbyes
from tests.support.crowd import Crowd
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

# From the last stream's end on: (short, long). gunicorn lingers 2 s for kept-alive connections, and a new process starts,
# which takes up to a minute beside other tests; a worker that makes no way is killed after 30 s, and gunicorn says so.
SERVICE_SECONDS: Final = (90, 12)


class Way(NamedTuple):
    """How a worker comes to retire.

    Attributes:
        name: as the table calls it.
        kind: of server.
        arguments: its own; {limit} is a few requests more than there are streams, {file} what is changed.
        reloads: the file is changed; else requests are sent until the limit is reached.
        exits: the whole server goes, and is started again.
    """

    name: str
    kind: str
    arguments: Sequence[str]
    reloads: bool = False
    exits: bool = False
    soak: bool = True


WAYS: Final = (
    Way("gunicorn --max-requests, threads", "gunicorn-gthread",
        ("--threads", "320", "--max-requests", "{limit}"), soak=False),
    Way("gunicorn --max-requests, gevent", "gunicorn-gevent", ("--max-requests", "{limit}"), soak=False),
    Way("gunicorn --reload, threads", "gunicorn-gthread",
        ("--threads", "320", "--reload", "--reload-extra-file", "{file}"), reloads=True),
    Way("uvicorn --limit-max-requests", "uvicorn", ("--limit-max-requests", "10"), exits=True, soak=False),
    Way("hypercorn --max-requests", "hypercorn", ("--max-requests", "{limit}")),
)  # fmt: skip


def retire(way: Way, scale: Scale) -> Tally:
    """Lets a worker retire by itself under many readers and a publisher."""
    count, service_seconds = scale.pick(30, 200), scale.pick(*SERVICE_SECONDS)
    between = scale.pick(100, 500), scale.pick(900, 2000)  # the retries, in milliseconds
    times = {"drain_seconds": scale.pick(4, 10) / 10, "retry_min_ms": between[0], "retry_max_ms": between[1]}
    tally = Tally()
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "watched.py"
        file.touch()
        arguments = [part.format(limit=count + 10, file=file) for part in way.arguments]
        serve = partial(serving, way.kind, redis.url, arguments=arguments, **SETTINGS, **times)
        site = stack.enter_context(serve())
        crowd = stack.enter_context(Crowd(site.stream("a"), count))
        crowd.wait(lambda member: member.open, 60, what="every stream to open")
        with publishing(site.bridge, "a", every=max(0.01, count / 4000)) as published:
            crowd.wait(lambda member: member.count > 5, what="the first events")
            told = time.monotonic()
            if way.reloads:
                wait_for(lambda: _changed(file, crowd), what="the reloader to notice the change")
            else:
                _poke(site, lambda: any(member.visits[0].ended for member in crowd.members))
            tally.faults += 1
            crowd.wait(lambda member: member.visits[0].ended, what="every stream to end")
            ended = time.monotonic()
            if way.exits:
                site.server.process.wait(service_seconds)
                stack.enter_context(serve(port=site.server.port))
            crowd.wait(lambda member: len(member.visits) > 1, 60, what="everybody to come back")
            served = max(member.visits[1].opened_at for member in crowd.members) - ended
            seen = published[0]
            wait_for(lambda: published[0] > seen + 5, what="more events")
        crowd.wait(lambda member: member.next == published[0], 60, what="the last event")
        add_figures(tally, crowd, published[0])
        if served > service_seconds:
            tally.wrong.append(f"the last reader was served {served:.1f} s after the last stream had ended")
        if "WORKER TIMEOUT" in site.server.output:
            tally.wrong.append("the worker had to be killed")
        judge_goodbyes(tally, crowd, told, between, f"everybody served again {served:.1f} s after the last end")
    return tally


def _poke(site: Served, over: Callable[[], bool]) -> None:
    """Sends short requests until the limit is reached."""
    until = time.monotonic() + 60
    while not over():
        assert time.monotonic() < until, f"the worker did not retire\n{site.server.output}"
        with contextlib.suppress(OSError, AssertionError):  # it has retired, and nobody serves for a moment
            site.get("/counts")


def _changed(file: Path, crowd: Crowd) -> bool:
    """Changes the file once more (its time is looked at once a second); whether that was noticed."""
    stamp = time.time() + 10
    os.utime(file, (stamp, stamp))
    return any(member.visits[0].ended for member in crowd.members)


for each in WAYS:
    guarantee(
        f"Retirement without a signal: {each.name}",
        part="Processes",
        promise="every stream ends on a frame with its own retry, all resume, and the worker makes way",
        soak=each.soak,
        id=f"retirement_{each.name.replace(' ', '_').replace(',', '')}",
    )(partial(retire, each))
