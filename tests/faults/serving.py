"""The fault tests' site under a server, over a Redis."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sse_bridge import Bridge, Json
from tests.faults.registry import Tally
from tests.support.crowd import Crowd
from tests.support.http_stream import HTTPStream
from tests.support.servers import WSGI_SERVERS, Server, serve

ASGI_APP: Final = "tests.faults.site:app"
WSGI_APP: Final = "tests.faults.wsgi_site:app"


class Served:
    """A running site.

    Args:
        server: the process, and
        bridge: straight to its log, for the test's own publishing.
    """

    def __init__(self, server: Server, bridge: Bridge) -> None:
        self.server = server
        self.bridge = bridge

    def stream(self, channel: str, query: str = "") -> str:
        """The address of a channel's stream."""
        return f"{self.server.url}/events/?channel={channel}{query}"

    def get(self, path: str) -> Any:
        """The JSON of a short request."""
        with HTTPStream(self.server.url + path, seconds=60) as answer:
            body = answer.read_all()
            assert answer.status == 200, (answer.status, body)
            return json.loads(body)


@contextmanager
def serving(
    kind: str,
    url: str,
    *,
    arguments: Sequence[str] = (),
    port: int | None = None,
    warm: bool = False,
    collect: bool = False,
    **settings: Any,
) -> Iterator[Served]:
    """Runs the site until the end of the with statement.

    Args:
        kind: of server.
        url: the log's Redis.
        arguments, port: the server's.
        warm: the site uses its bridge already while it is imported.
        collect: with Python's garbage collector.
        settings: the site's bridge's, and those of the test's own.
    """
    env = {f"SSE_BRIDGE_{name.upper()}": str(value) for name, value in settings.items()}
    env["SSE_BRIDGE_URL"] = url
    if warm:
        env["WARM_UP"] = "1"
    if collect:
        env["COLLECT_GARBAGE"] = "1"
    app = WSGI_APP if kind in WSGI_SERVERS else ASGI_APP
    with (
        Bridge(url, **settings) as bridge,
        serve(kind, app, env=env, arguments=arguments, port=port, seconds=60) as server,
    ):
        yield Served(server, bridge)


def memory_of(pid: int) -> int:
    """Bytes that a process and its children hold; what they share since a fork counts once.

    Not the files that are mapped: whoever else runs the same Python shares them, and has them counted to us when it ends.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    own = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))
    return own + sum(memory_of(int(child)) for child in children)


def percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


@contextmanager
def publishing(bridge: Bridge, channel: str, every: float = 0.01, size: int = 0) -> Iterator[list[int]]:
    """Publishes 0, 1, 2 … every so many seconds, at least so many bytes each, on a thread; the list holds how many."""
    count = [0]
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            bridge.publish(channel, Json(b"%d" % count[0] + b" " * size))
            count[0] += 1
            stop.wait(every)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()


def add_figures(tally: Tally, crowd: Crowd, published: int) -> None:
    """What the readers of a channel saw of so many events, when no gap was to be expected."""
    crowd.look()
    tally.published += published
    for member in crowd.members:
        tally.lost += len(member.missing) + max(0, published - member.next)
        tally.doubled += member.doubled
        tally.reordered += member.reordered
        tally.gaps += len(member.gaps)
        if member.gaps:
            tally.wrong.append(f"a reader was told of a gap where nothing was missing: {member.gaps[:2]}")
