"""The broker is away for longer than a publish may take: whoever publishes in a view must not hang each time."""

from __future__ import annotations

import asyncio
import threading
import time

from sse_bridge import Bridge
from sse_bridge.backends.redis.breaker import PAUSE_SECONDS, PROBE_SECONDS
from sse_bridge.errors import BackendUnavailable, PublishUncertain
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.stand import late_seconds
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.wait import stays, wait_for

CHANNEL = "orders:42"
VIEWS = 4  # of each colour
PACE_SECONDS = 0.02
DEADLINE_SECONDS = 2.0


class Views:
    """Threads and tasks that publish one event after the other over one bridge.

    Attributes:
        calls: when each began, how long it took, its data, and the error if there was one.
    """

    def __init__(self, bridge: Bridge) -> None:
        self.calls: list[tuple[float, float, str, BaseException | None]] = []
        self._bridge = bridge
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._view, args=(f"thread-{n}",)) for n in range(VIEWS)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._aviews())))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a view hangs"

    def published_since(self, when: float) -> set[str]:
        """The views that have published something that they began after this moment."""
        return {data.partition(" ")[0] for began, _, data, error in list(self.calls) if error is None and began > when}

    def failures(self) -> int:
        return sum(error is not None for _, _, _, error in list(self.calls))

    def _view(self, name: str) -> None:
        n = 0
        while not self._stop.wait(PACE_SECONDS):
            began, error = time.monotonic(), None
            try:
                self._bridge.publish(CHANNEL, f"{name} {n}")
            except Exception as told:
                error = told
            self.calls.append((began, time.monotonic() - began, f"{name} {n}", error))
            n += 1

    async def _aviews(self) -> None:
        await asyncio.gather(*[self._aview(f"task-{n}") for n in range(VIEWS)])
        await self._bridge.backend.aclose()  # the connections of this loop, which ends here

    async def _aview(self, name: str) -> None:
        n = 0
        while not self._stop.is_set():
            began, error = time.monotonic(), None
            try:
                await self._bridge.apublish(CHANNEL, f"{name} {n}")
            except Exception as told:
                error = told
            self.calls.append((began, time.monotonic() - began, f"{name} {n}", error))
            n += 1
            await asyncio.sleep(PACE_SECONDS)


@guarantee(
    "Redis refuses connections, and another time is a black hole, for longer than a publish may take",
    part="Publishing",
    promise="one deadline is waited for, then publishes fail at once but for one probe at a time; they go on within 3 s of its "
    "return; what was refused is not stored",
)
def away_for_long(scale: Scale) -> Tally:
    late, tally = late_seconds(scale), Tally(lost=0, doubled=0)
    settings = {"publish_timeout_seconds": DEADLINE_SECONDS, "replay_size": 100_000}
    longest = returned = 0.0
    with RedisServer() as server, Proxy(server.port) as network:
        bridge = Bridge(network.redis_url, **settings)
        views = Views(bridge)
        wait_for(lambda: len(views.published_since(0)) == 2 * VIEWS, what="views that publish")
        for number in range(scale.pick(short=2, long=4)):
            known = views.failures()
            (network.hold if number % 2 else network.refuse)()
            tally.faults += 1
            wait_for(lambda: views.failures() > known, what="a deadline")  # noqa: B023
            opened = time.monotonic()
            stays(lambda: True, scale.pick(short=2, long=4))
            (network.flow if number % 2 else network.accept)()
            back = time.monotonic()
            wait_for(lambda: len(views.published_since(back)) == 2 * VIEWS, what="views that publish again")  # noqa: B023
            first = min(began for began, _, _, error in list(views.calls) if error is None and began > back)
            returned = max(returned, first - back)
            waits = [seconds for began, seconds, _, _ in list(views.calls) if opened + 0.5 < began < back]
            longest = max(longest, *waits)
            if sorted(waits)[len(waits) // 2] > scale.pick(short=10, long=6) / 10:  # the deadline is 2 s
                tally.wrong.append(f"half of the publishes took {sorted(waits)[len(waits) // 2]:.2f} s or more")
            if len([seconds for seconds in waits if seconds > PROBE_SECONDS / 2]) > len(waits) / 4:
                tally.wrong.append("more than the probes waited")
        views.stop()
        bridge.close()
        with Bridge(server.url, **settings) as reader:
            stored = [event.data for event in reader.history(CHANNEL, limit=10_000)]
    if longest > PROBE_SECONDS + 0.5 + late:
        tally.wrong.append(f"a publish took {longest:.1f} s, though it was known that the broker is away")
    if returned > PAUSE_SECONDS[1] + PROBE_SECONDS + late:
        tally.wrong.append(f"the first publish that went well began {returned:.1f} s after the return")
    tally.notes.append(f"the longest took {longest:.2f} s, and {returned:.2f} s after the return one went well")
    return judged(views, stored, tally)


def judged(views: Views, stored: list[str], tally: Tally) -> Tally:
    tally.doubled = len(stored) - len(set(stored))
    for _, _, data, error in views.calls:
        if error is None:
            tally.published += 1
            tally.lost += data not in stored
        elif isinstance(error, PublishUncertain):
            tally.uncertain += 1
        elif isinstance(error, BackendUnavailable):
            tally.refused += 1
            if data in stored:
                tally.wrong.append(f"{data!r} was refused, and is stored")
        else:
            tally.wrong.append(f"{data!r}: {error!r}")
    return tally
