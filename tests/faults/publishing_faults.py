"""Publishing while the broker is away: what is raised, what is spooled, and what becomes of it."""

from __future__ import annotations

from tests.faults.broker_faults import COMPLETE, no_gaps
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.stand import Stand
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

PART = "Publishing while the broker is away"
SPOOL = {"on_unavailable": "spool", "publish_timeout_seconds": 0.5}


@guarantee(
    '`on_unavailable="raise"`: Redis is away longer than the deadline',
    part=PART,
    promise="an error within `publish_timeout_seconds`; what was refused is never seen, what was published is",
)
def raising(scale: Scale) -> Tally:
    with (
        RedisServer(persistent=True) as server,
        Stand(server, scale=scale, publishers={"publish_timeout_seconds": 1}) as stand,
    ):
        for _ in range(scale.pick(short=1, long=10)):
            refused = len(stand.ledger.refused)
            server.kill()
            stand.tally.faults += 1
            wait_for(lambda: len(stand.ledger.refused) >= refused + 20, what="refusals")  # noqa: B023
            server.start()
            stand.flow()
    longest = stand.publishers.longest
    stand.tally.notes.append(f"the longest publish took {longest:.2f} s with a deadline of 1 s")
    if longest > 3:
        stand.tally.wrong.append(f"a publish took {longest:.1f} s, with a deadline of 1 s")
    return no_gaps(stand)


@guarantee('`on_unavailable="spool"`: Redis killed and restarted', part=PART, promise=f"no publish fails; {COMPLETE}")
def spooling(scale: Scale) -> Tally:
    with RedisServer(persistent=True) as server, Stand(server, scale=scale, publishers=SPOOL) as stand:
        spool = stand.publishers.bridge.spool
        for _ in range(scale.pick(short=1, long=15)):
            server.kill()
            stand.tally.faults += 1
            wait_for(lambda: spool.queued > 500, 30, what="spooled events")
            server.start()
            wait_for(lambda: spool.idle, 30, what="the flush")
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
            wait_for(lambda: spool.queued > 500, 30, what="spooled events")
            server.resume()
            wait_for(lambda: spool.idle, 30, what="the flush")
            stand.flow()
    return all_flushed(stand)


@guarantee(
    "a spool that is full: dead letters, sent again",
    part=PART,
    promise="every event once; those that found no room come later than they should",
    soak=True,  # thousands of letters; tests/backends/test_spooling.py has it small
)
def full_spool(scale: Scale) -> Tally:
    options = {**SPOOL, "spool_max_events": 200, "dead_letters_max": 100_000}
    with (
        RedisServer(persistent=True) as server,
        Stand(server, scale=scale, publishers=options, dead_letters_max=100_000) as stand,
    ):
        stand.ledger.in_order = False
        spool = stand.publishers.bridge.spool
        for _ in range(scale.pick(short=1, long=4)):
            dead = spool.dead
            server.kill()
            stand.tally.faults += 1
            wait_for(lambda: spool.dead > dead + 100, 30, what="dead letters")  # noqa: B023
            server.start()
            wait_for(lambda: spool.idle, 30, what="the flush")
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
