"""Faults of one Redis server, under publishers that go on and readers that stay connected."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Literal

from sse_bridge import Bridge
from sse_bridge.backends.redis.keys import Keys
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.stand import CHANNEL, TICK_SECONDS, Stand
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.wait import stays, wait_for

PART = "Broker"
COMPLETE = "every event once, in order, no gap"
STAYS = "streams stay, heartbeats go on"


def key(stand: Stand, which: Literal["meta", "list"]) -> str:
    meta, log = Keys(stand.admin.settings.prefix, 0).of(CHANNEL)
    return (meta if which == "meta" else log).decode()


@guarantee("Redis killed and restarted, append-only file", part=PART, promise=f"{COMPLETE}; {STAYS}")
def killed_with_persistence(scale: Scale) -> Tally:
    with RedisServer(persistent=True) as server, Stand(server, scale=scale) as stand:
        for number in range(scale.pick(short=2, long=12)):
            kill_and_restart(server, stand, number)
            stand.flow()
    stand.tally.notes.append(heard(stand))
    return no_gaps(stand)


@guarantee(
    "Redis killed and restarted, nothing on disk",
    part=PART,
    promise="one gap `epoch` per reader and loss, and everything behind it",
)
def killed_without_persistence(scale: Scale) -> Tally:
    with RedisServer() as server, Stand(server, scale=scale) as stand:
        rounds = scale.pick(short=2, long=12)
        for number in range(rounds):
            kill_and_restart(server, stand, number + 1)
            stand.wait(lambda number=number: min(stand.gaps("epoch")) > number, what="the gap")  # type: ignore[misc]
            stand.flow()
    return exactly(stand, "epoch", rounds)


def kill_and_restart(server: RedisServer, stand: Stand, number: int) -> None:
    """At once; but every sixth time, from the first on, it stays away for two heartbeats."""
    with stand.away(heartbeats=0 if number % 6 else 2):
        server.kill()
        stand.tally.faults += 1
    server.start()


@guarantee(
    "Redis frozen (SIGSTOP), longer than a link may be silent",
    part=PART,
    promise=f"noticed within `link_timeout_seconds`; {COMPLETE}; {STAYS}",
)
def frozen(scale: Scale) -> Tally:
    """In the long form for 20 s with the default link_timeout_seconds."""
    timeout, frozen_seconds = scale.pick(short=1, long=10), scale.pick(short=3, long=20)
    options = {"link_timeout_seconds": timeout, "publish_timeout_seconds": 40}
    with RedisServer(persistent=True) as server, Stand(server, scale=scale, **options) as stand:
        for _ in range(scale.pick(short=1, long=2)):
            known = len(stand.lost_links)
            with stand.away(heartbeats=frozen_seconds // 2) as began:
                server.pause()
                stand.tally.faults += 1
                wait_for(lambda: time.monotonic() > began + frozen_seconds, frozen_seconds + 5)
            noticed_within(stand, timeout, began, known)
            server.resume()
            stand.flow()
    stand.tally.notes += [f"silent links noticed after {stand.noticed:.2f} s of {timeout}", heard(stand)]
    return no_gaps(stand)


@guarantee(
    "a black hole between Redis and the readers",
    part=PART,
    promise=f"noticed within `link_timeout_seconds`; {COMPLETE}; {STAYS}",
)
def black_hole(scale: Scale) -> Tally:
    """Publishing goes on meanwhile: what the readers miss is read from the log."""
    timeout = scale.pick(short=1, long=2)
    with RedisServer() as server, Stand(server, scale=scale, link_timeout_seconds=timeout) as stand:
        assert stand.reading
        for _ in range(scale.pick(short=1, long=8)):
            known, published = len(stand.lost_links), len(stand.ledger.published)
            with stand.away(heartbeats=2) as began:
                stand.reading.hold()
                stand.tally.faults += 1
                wait_for(lambda: len(stand.lost_links) >= known + 3, timeout + 10, what="three lost links")  # noqa: B023
                wait_for(lambda: len(stand.ledger.published) > published + 100, what="publishers")  # noqa: B023
            noticed_within(stand, timeout, began, known)
            stand.reading.flow()
            stand.flow()
    stand.tally.notes.append(heard(stand))
    return no_gaps(stand)


def noticed_within(stand: Stand, timeout: float, began: float, known: int) -> None:
    """Each reader's link was found to be silent in time; a link's timer waits for no tick, but a machine may be late."""
    noticed = [at - began for at in stand.lost_links[known : known + 3]]
    if len(noticed) < 3 or noticed[2] > timeout + stand.late_seconds:
        stand.tally.wrong.append(f"three links must be found silent within {timeout} s, got {noticed}")
    stand.noticed = max([stand.noticed, *noticed])


def heard(stand: Stand) -> str:
    each = stand.settings["heartbeat_seconds"]
    return f"the longest silence of a stream meanwhile: {stand.silence:.1f} s with a heartbeat each {each} s"


@guarantee("`CLIENT KILL TYPE pubsub`", part=PART, promise=COMPLETE)
def killed_live_links(scale: Scale) -> Tally:
    with RedisServer() as server, Stand(server, scale=scale) as stand:
        for _ in range(scale.pick(short=5, long=60)):
            assert server.command("CLIENT", "KILL", "TYPE", "pubsub").startswith(b":")
            stand.tally.faults += 1
            stand.flow(10)
    return no_gaps(stand)


@guarantee("`SCRIPT FLUSH` under loaded pipelines", part=PART, promise=COMPLETE)
def flushed_scripts(scale: Scale) -> Tally:
    with RedisServer() as server, Stand(server, scale=scale) as stand:
        for _ in range(scale.pick(short=50, long=1000)):
            assert server.command("SCRIPT", "FLUSH") == b"+OK\r\n"
            stand.tally.faults += 1
            stand.flow(2)
    return no_gaps(stand)


@guarantee(
    "out of memory (`maxmemory`, noeviction)", part=PART, promise="publishes are refused at once, readers miss nothing"
)
def out_of_memory(scale: Scale) -> Tally:
    with RedisServer() as server, Stand(server, scale=scale) as stand:
        for _ in range(scale.pick(short=2, long=20)):
            refused = len(stand.ledger.refused)
            server.command("CONFIG", "SET", "maxmemory", "1")
            stand.tally.faults += 1
            wait_for(lambda: len(stand.ledger.refused) > refused + 20, what="refusals")  # noqa: B023
            server.command("CONFIG", "SET", "maxmemory", "0")
            stand.flow()
    longest = stand.publishers.longest
    stand.tally.notes.append(f"the longest publish took {longest:.2f} s")
    if longest > 1 + stand.late_seconds:
        stand.tally.wrong.append(f"a refusal must come at once, a publish took {longest:.1f} s")
    return no_gaps(stand)


@guarantee("the server becomes a replica (READONLY)", part=PART, promise=COMPLETE)
def readonly(scale: Scale) -> Tally:
    with RedisServer() as server, Stand(server, scale=scale) as stand:
        for _ in range(scale.pick(short=2, long=20)):
            server.command("REPLICAOF", "127.0.0.1", "1")
            stand.tally.faults += 1
            published = len(stand.ledger.published)
            stays(lambda: len(stand.ledger.published) <= published + 10, 0.5)  # noqa: B023
            server.command("REPLICAOF", "NO", "ONE")
            stand.flow()
    return no_gaps(stand)


@guarantee("Redis answers LOADING for a while after a restart", part=PART, promise=COMPLETE)
def loading(scale: Scale) -> Tally:
    config = ["loading-process-events-interval-bytes 1024", "key-load-delay 2000"]
    with RedisServer(persistent=True, config=config) as server, Stand(server, scale=scale) as stand:
        for _ in range(scale.pick(short=1, long=5)):
            server.restart()
            stand.tally.faults += 1
            stand.flow()
            loaded = re.search(r"DB loaded from append only file: ([\d.]+) seconds", server.process.output)
            assert loaded, server.process.output
            assert float(loaded[1]) > 0.1, "it was loaded too quickly to prove anything"
    return no_gaps(stand)


@guarantee("the meta key alone is deleted", part=PART, promise="one gap `epoch` per reader and loss")
def lost_meta(scale: Scale) -> Tally:
    with RedisServer() as server, Stand(server, scale=scale) as stand:
        rounds = scale.pick(short=2, long=20)
        for number in range(rounds):
            assert server.command("DEL", key(stand, "meta")) == b":1\r\n"
            stand.tally.faults += 1
            stand.wait(lambda number=number: min(stand.gaps("epoch")) > number, what="the gap")  # type: ignore[misc]
            stand.flow()
    return exactly(stand, "epoch", rounds)


@guarantee("the list alone is deleted", part=PART, promise="a gap wherever a reader had not seen it all")
def lost_list(scale: Scale) -> Tally:
    with RedisServer() as server, Stand(server, scale=scale) as stand:
        assert stand.reading
        for number in range(scale.pick(short=2, long=20)):
            if number % 2:  # every second time the readers are behind when it happens
                stand.reading.refuse()
                published = len(stand.ledger.published)
                wait_for(lambda: len(stand.ledger.published) > published + 50, what="publishers")  # noqa: B023
            assert server.command("DEL", key(stand, "list")) == b":1\r\n"
            stand.tally.faults += 1
            stand.reading.accept()
            stand.flow()
    tally = stand.tally
    if not min(stand.gaps("trimmed")):
        tally.wrong.append("readers that were behind when the list went must have been told")
    return tally


@guarantee(
    "a key of another type in the log's place",
    part=PART,
    promise="publishes are refused; readers that had seen all miss nothing",
)
def wrong_type(scale: Scale) -> Tally:
    with RedisServer() as server, Stand(server, scale=scale) as stand:
        for _ in range(scale.pick(short=1, long=10)):
            refused = len(stand.ledger.refused)
            server.command("SET", key(stand, "list"), "not a list")
            stand.tally.faults += 1
            wait_for(lambda: len(stand.ledger.refused) > refused + 20, what="refusals")  # noqa: B023
            server.command("DEL", key(stand, "list"))
            stand.flow()
    return stand.tally


@guarantee(
    "an ACL that loses its channel rights while in use",
    part=PART,
    promise="publishing goes on; readers get everything by the next check (`check_seconds`), no gap",
)
def forbidden_channels(scale: Scale) -> Tally:
    slowest = 0.0
    with RedisServer() as server, Stand(server, scale=scale) as stand:
        for _ in range(scale.pick(short=1, long=10)):
            server.command("ACL", "SETUSER", "default", "resetchannels")
            stand.tally.faults += 1
            began = time.monotonic()
            stand.flow(10)  # found by the checks, which read the log
            slowest = max(slowest, time.monotonic() - began)
            stand.flow()
            server.command("ACL", "SETUSER", "default", "allchannels")
            stand.flow()
    each = stand.settings["check_seconds"]
    stand.tally.notes.append(f"ten events read after {slowest:.1f} s at the latest, with a check each {each} s")
    if slowest > each + TICK_SECONDS + stand.late_seconds:
        stand.tally.wrong.append(f"with a check each {each} s events came after {slowest:.1f} s")
    return no_gaps(stand)


@guarantee("the reply to a publish is lost", part=PART, promise="once, or `PublishUncertain`; here always once")
def lost_reply(scale: Scale) -> Tally:
    with RedisServer() as server, Stand(server, scale=scale) as stand:
        assert stand.publishing
        for _ in range(scale.pick(short=10, long=200)):
            stand.publishing.drop_reply(after=b"row")
            wait_for(lambda: stand.publishing.reply_dropped, what="a lost reply")
            stand.tally.faults += 1
            stand.flow(5)
    tally = no_gaps(stand)
    if tally.uncertain:
        tally.wrong.append(f"{tally.uncertain} uncertain, though the log proves every one of them")
    return tally


@guarantee(
    "the reply is lost, and 1,500 foreign publishes trim the log before the retry",
    part=PART,
    promise="`PublishUncertain`, and the event is never there twice",
)
def lost_reply_and_trimmed(scale: Scale) -> Tally:
    tally = Tally()
    settings = {"replay_size": 1000, "publish_timeout_seconds": 10}
    with RedisServer() as server, Bridge(server.url, **settings) as others, Proxy(server.port) as network:
        bridge = Bridge(network.redis_url, **settings)
        for number in range(scale.pick(short=3, long=40)):
            channel = f"busy-{number}"
            others.publish(channel, "first")
            outcome = publish_with_reply_lost(bridge, network, channel, lambda channel=channel: _fill(others, channel))  # type: ignore[misc]
            tally.faults += 1
            tally.published += 1501
            seen = [event.data for event in others.history(channel, limit=10_000)]
            copies = seen.count("mine")
            tally.doubled += copies  # it was stored once and trimmed away: whatever stands there now is a second one
            if outcome != "PublishUncertain":
                tally.wrong.append(f"expected PublishUncertain, got {outcome}")
            else:
                tally.uncertain += 1
        bridge.close()
    return tally


def publish_with_reply_lost(bridge: Bridge, network: Proxy, channel: str, meanwhile: Callable[[], object]) -> str:
    """One publish whose reply is lost and whose retry waits until `meanwhile` is done; the name of what came of it."""
    bridge.history(channel, limit=1)  # connected, and the retention is known
    outcome: list[str] = []

    def publish() -> None:
        try:
            outcome.append(type(bridge.publish(channel, "mine")).__name__)
        except Exception as error:
            outcome.append(type(error).__name__)

    network.drop_reply(after=b"mine", refuse=True)
    thread = threading.Thread(target=publish)
    thread.start()
    wait_for(lambda: network.reply_dropped, what="a lost reply")
    meanwhile()
    network.accept()
    thread.join(60)
    return outcome[0]


def _fill(others: Bridge, channel: str) -> None:
    for start in range(0, 1500, 500):
        assert all(others.publish_many([(channel, n) for n in range(start, start + 500)]))


def no_gaps(stand: Stand) -> Tally:
    """Nothing was lost, so nobody may have been told of a loss."""
    if stand.tally.gaps:
        told = [event for reader in stand.readers for event in reader.seen if event.type == "stream.gap"]
        stand.tally.wrong.append(f"nothing was lost, but readers were told of {told[:3]}")
    return stand.tally


def exactly(stand: Stand, reason: str, each: int) -> Tally:
    """Every reader was told of every loss once, and of nothing else."""
    if stand.gaps(reason) != [each] * len(stand.readers) or stand.tally.gaps != each * len(stand.readers):
        stand.tally.wrong.append(f"expected {each} gaps {reason!r} per reader, got {stand.gaps(reason)}")
    return stand.tally
