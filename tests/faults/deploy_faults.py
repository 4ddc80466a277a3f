"""Old and new processes on one Redis, as they are for a while in every deploy."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Final
from unittest.mock import patch

import redis

from sse_bridge import Bridge
from sse_bridge.backends.redis import retention
from sse_bridge.backends.redis.keys import LAYOUT_VERSION
from sse_bridge.errors import ConfigurationError
from tests.acceptance.publishers import TYPE, row
from tests.faults.broker_faults import COMPLETE, no_gaps
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.stand import CHANNEL, Stand, late_seconds
from tests.support.process import ROOT, child_environment
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

PART = "Deploys"
OTHERS: Final = (str(int(LAYOUT_VERSION) - 1), str(int(LAYOUT_VERSION) + 1))
LOOK_SECONDS: Final = 0.5  # instead of 30: how often a process that publishes reads the retention again


@guarantee(
    "two versions of the library on one Redis, with different layouts",
    part=PART,
    promise=f"the second refuses, with both named, and leaves nothing; for the first: {COMPLETE}",
)
def two_versions(scale: Scale) -> Tally:
    with RedisServer() as server, Stand(server, scale=scale) as stand, redis.Redis(port=server.port) as client:
        prefix = stand.admin.settings.prefix
        ours = LAYOUT_VERSION.decode()
        before = client.hgetall(f"{prefix}:retention")
        for number in range(scale.pick(short=2, long=10)):
            theirs = OTHERS[number % 2]
            stand.tally.faults += 1
            for told in another_version(server.url, prefix, theirs):
                named = told and f"'{ours}'" in told and f"'{theirs}'" in told
                if not (named and told.startswith("ConfigurationError: ")):
                    stand.tally.wrong.append(f"a process with layout {theirs} beside {ours} was told {told!r}")
            stand.flow()
        if left := [key for key in client.keys(f"{prefix}:*") if b":other:" in key]:
            stand.tally.wrong.append(f"the second version left {left}")
        if client.hgetall(f"{prefix}:retention") != before:
            stand.tally.wrong.append("the second version changed what is stored for all")

        # and the other way round: the new version was first
        if another_version(server.url, "theirs", OTHERS[1]) != [None] * 3:
            stand.tally.wrong.append("a version alone on a prefix was refused")
        with Bridge(server.url, prefix="theirs") as late:
            try:
                late.publish(CHANNEL, 1)
                stand.tally.wrong.append("a version that came second could publish")
            except ConfigurationError as error:
                if not (f"'{ours}'" in str(error) and f"'{OTHERS[1]}'" in str(error)):
                    stand.tally.wrong.append(f"both must be named, got {error}")
    return no_gaps(stand)


def another_version(url: str, prefix: str, layout: str) -> list[str | None]:
    """What a process of another version is told when it publishes, reads, and publishes from a coroutine."""
    command = [sys.executable, "-m", "tests.faults.another_version", url, prefix, layout]
    done = subprocess.run(
        command, cwd=ROOT, env=child_environment(), capture_output=True, text=True, timeout=60, check=True
    )
    return [json.loads(line) for line in done.stdout.split("\n") if line]


@guarantee(
    "deploys that change `replay_size`, old and new processes publishing at once",
    part=PART,
    promise=f"nobody is refused, running processes follow (here within {LOOK_SECONDS:g} s instead of 30); {COMPLETE}",
)
def retention_changes(scale: Scale) -> Tally:
    slowest = 0.0
    with (
        patch.object(retention, "LOOK_AGAIN_SECONDS", LOOK_SECONDS),
        RedisServer() as server,
        Stand(server, scale=scale) as stand,
    ):
        for number in range(scale.pick(short=2, long=12)):
            # more than the row publishes: what is trimmed on purpose would be no fault
            size = 60_000 + 1000 * number
            settings = {**stand.settings, "replay_size": size, "retention_change": "update"}
            with Bridge(server.url, **settings) as new:
                stand.tally.faults += 1
                for n in range(20):
                    key = (f"deploy-{number}", n)
                    stand.ledger.told(key, new.publish(CHANNEL, row(*key), type=TYPE))
                began = time.monotonic()
                old = stand.publishers.bridge.backend
                wait_for(lambda: old._codec.replay_size == size, what="the old process to follow")  # type: ignore[attr-defined]  # noqa: B023
                slowest = max(slowest, time.monotonic() - began)
                stand.flow()
    stand.tally.notes.append(f"a running process followed after {slowest:.1f} s at the latest")
    if slowest > LOOK_SECONDS + late_seconds(scale):
        stand.tally.wrong.append(f"a running process followed after {slowest:.1f} s only")
    if stand.ledger.refused or stand.ledger.uncertain:
        stand.tally.wrong.append("a publish was refused")
    return no_gaps(stand)
