"""Publishing while the broker is away: what is raised, what is spooled, and what becomes of it."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from sse_bridge import Bridge
from sse_bridge.errors import BackendUnavailable, PublishUncertain
from tests.faults.broker_faults import COMPLETE, no_gaps
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.stand import Stand, late_seconds
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

PART = "Publishing while the broker is away"
DEADLINE_SECONDS: Final = 5.0
SPOOL = {"on_unavailable": "spool", "publish_timeout_seconds": 0.5}


@guarantee(
    '`on_unavailable="raise"`: Redis is away longer than the deadline',
    part=PART,
    promise="an error within `publish_timeout_seconds`; what was refused is never seen, what was published is",
)
def raising(scale: Scale) -> Tally:
    """The coroutines publish to one channel, so one may wait for others and then has a third of the deadline more."""
    with (
        RedisServer(persistent=True) as server,
        Stand(server, scale=scale, publishers={"publish_timeout_seconds": 1}) as stand,
    ):
        for number in range(scale.pick(short=1, long=10)):
            refused = len(stand.ledger.refused)
            with stand.away(heartbeats=0 if number else 2):
                server.kill()
                stand.tally.faults += 1
                wait_for(lambda: len(stand.ledger.refused) >= refused + 20, what="refusals")  # noqa: B023
            server.start()
            stand.flow()
    longest = stand.publishers.longest
    stand.tally.notes.append(f"the longest publish took {longest:.2f} s with a deadline of 1 s")
    if longest > 4 / 3 + stand.late_seconds:
        stand.tally.wrong.append(f"a publish took {longest:.1f} s, with a deadline of 1 s")
    return no_gaps(stand)


@guarantee(
    '`on_unavailable="raise"` with the default deadline: Redis killed, and Redis frozen',
    part=PART,
    promise="an error within 5 s; what was refused is not in the log, and nothing is there twice",
)
def raising_by_default(scale: Scale) -> Tally:
    tally = Tally()
    tally.refused = tally.uncertain = tally.doubled = 0
    longest = 0.0
    for _ in range(scale.pick(short=1, long=5)):
        with (
            RedisServer(persistent=True) as killed,
            RedisServer() as frozen,
            ThreadPoolExecutor(4) as threads,
            ExitStack() as stack,
        ):
            callers = [Caller(server, colour) for server in (killed, frozen) for colour in ("sync", "async")]
            for caller in callers:
                stack.callback(caller.close)
                assert caller.bridge.settings.publish_timeout_seconds == DEADLINE_SECONDS, "the page says 5 s"
                assert caller.publish("before")[0] is None
            killed.kill()
            frozen.pause()
            tally.faults += 2
            outcomes = list(threads.map(lambda caller: caller.publish("meanwhile"), callers))
            killed.start()
            frozen.resume()
            for caller, (error, seconds) in zip(callers, outcomes, strict=True):
                colour = caller.colour
                longest = max(longest, seconds)
                tally.refused += isinstance(error, BackendUnavailable)
                tally.uncertain += isinstance(error, PublishUncertain)
                if not isinstance(error, (BackendUnavailable, PublishUncertain)):
                    tally.wrong.append(f"{colour}: expected an error, got {error!r}")
                # others were told at once while it was away: it is asked again within a few seconds
                wait_for(lambda: caller.publish("behind")[0] is None, what="a publish")  # noqa: B023
                tally.published += 2
                seen = [event.data for event in caller.bridge.history(colour)]
                copies = seen.count("meanwhile")
                tally.doubled += max(0, copies - 1)
                if copies and isinstance(error, BackendUnavailable):
                    tally.wrong.append(f"{colour}: it is in the log, its publisher was told {error!r}")
                if [each for each in seen if each != "meanwhile"] != ["before", "behind"]:
                    tally.wrong.append(f"{colour}: the log holds {seen}")
    tally.notes.append(f"the longest publish took {longest:.2f} s")
    if longest > DEADLINE_SECONDS + late_seconds(scale):
        tally.wrong.append(f"a publish took {longest:.1f} s, with a deadline of {DEADLINE_SECONDS} s")
    return tally


class Caller:
    """Somebody who publishes with a bridge of its own, as it comes: no setting is changed.

    Attributes:
        colour: whether it calls `publish` or `apublish`; the channel is called alike.
    """

    def __init__(self, server: RedisServer, colour: str) -> None:
        self.bridge = Bridge(server.url)
        self.colour = colour
        self._loop = asyncio.new_event_loop()

    def publish(self, data: str) -> tuple[Exception | None, float]:
        """What was raised, if anything, and how long it took."""
        began = time.monotonic()
        try:
            if self.colour == "async":
                self._loop.run_until_complete(self.bridge.apublish(self.colour, data))
            else:
                self.bridge.publish(self.colour, data)
        except Exception as error:
            return error, time.monotonic() - began
        return None, time.monotonic() - began

    def close(self) -> None:
        self._loop.run_until_complete(self.bridge.aclose())
        self._loop.close()


@guarantee('`on_unavailable="spool"`: Redis killed and restarted', part=PART, promise=f"no publish fails; {COMPLETE}")
def spooling(scale: Scale) -> Tally:
    with RedisServer(persistent=True) as server, Stand(server, scale=scale, publishers=SPOOL) as stand:
        spool = stand.publishers.bridge.spool
        for _ in range(scale.pick(short=1, long=15)):
            server.kill()
            stand.tally.faults += 1
            wait_for(lambda: spool.queued > 500, what="spooled events")
            server.start()
            wait_for(lambda: spool.idle, what="the flush")
            stand.flow()
    return all_flushed(stand)


@guarantee(
    '`on_unavailable="spool"`: Redis frozen, so that answers are missing',
    part=PART,
    promise=f"no publish fails; {COMPLETE}",
)
def spooling_unknown_fates(scale: Scale) -> Tally:
    """The events whose answers are missing are executed when Redis wakes, and then the spool comes with them again."""
    with RedisServer(persistent=True) as server, Stand(server, scale=scale, publishers=SPOOL) as stand:
        spool = stand.publishers.bridge.spool
        for _ in range(scale.pick(short=1, long=15)):
            server.pause()
            stand.tally.faults += 1
            wait_for(lambda: spool.queued > 500, what="spooled events")
            server.resume()
            wait_for(lambda: spool.idle, what="the flush")
            stand.flow()
    return all_flushed(stand)


@guarantee(
    "a spool that is full: dead letters, sent again",
    part=PART,
    promise="every event once; those that found no room come later than they should",
)
def full_spool(scale: Scale) -> Tally:
    """In the short form publishers go slowly: what they publish while the spool is full is sent again one by one."""
    options = {**SPOOL, "spool_max_events": scale.pick(short=20, long=200), "dead_letters_max": 100_000}
    pace_seconds = scale.pick(short=40, long=4) / 1000
    with (
        RedisServer(persistent=True) as server,
        Stand(server, scale=scale, publishers=options, pace_seconds=pace_seconds, dead_letters_max=100_000) as stand,
    ):
        stand.ledger.in_order = False
        spool = stand.publishers.bridge.spool
        for _ in range(scale.pick(short=1, long=4)):
            dead = spool.dead
            server.kill()
            stand.tally.faults += 1
            wait_for(lambda: spool.dead > dead + scale.pick(short=20, long=100), what="dead letters")  # noqa: B023
            server.start()
            wait_for(lambda: spool.idle, what="the flush")
            while resent := stand.admin.resend_dead_letters(1000):
                stand.tally.wrong += [
                    f"{letter}: {result!r}" for letter, result in resent if isinstance(result, Exception)
                ]
            stand.flow()
        stand.tally.notes.append(f"{spool.dead} dead letters, all sent again from another bridge")
    return no_gaps(stand)


def all_flushed(stand: Stand) -> Tally:
    spool, tally = stand.publishers.bridge.spool, stand.tally
    if tally.refused or tally.uncertain or spool.dead:
        tally.wrong.append(
            f"no publish may fail: {tally.refused} refused, {tally.uncertain} uncertain, {spool.dead} dead"
        )
    tally.notes.append(f"{spool.flushed} events went through the spool")
    return no_gaps(stand)
