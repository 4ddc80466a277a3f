"""Dead letters in Redis are resent each with an outcome of its own: of bad channels, and of a cluster's dead primary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.backends.redis.routes import slot_of
from sse_bridge.dead_letters import Resent
from sse_bridge.errors import BackendError, BackendUnavailable, PublishUncertain
from sse_bridge.events import Position
from sse_bridge.publishing.letters import DeadLetter, encode_letter
from tests.backends.sides import COLOURS, batch
from tests.support.redis_group import RedisCluster
from tests.support.redis_server import RedisServer
from tests.support.requires import require
from tests.support.wait import wait_for

BAD = ["typed", "forbidden"]
ORDERS = {
    "bad ones first": ["typed", "forbidden", "well0", "well1", "well0"],
    "bad ones last": ["well0", "well1", "well0", "forbidden", "typed"],
    "between": ["well0", "forbidden", "typed", "well1", "typed", "forbidden", "well0"],
}


def put(bridge: Bridge, channels: Sequence[str]) -> list[DeadLetter]:
    """One dead letter for each channel, numbered by its place."""
    letters = [
        DeadLetter(channel, "refused", "an error", 1, None, batch(channel, b"%d" % number))
        for number, channel in enumerate(channels)
    ]
    bridge.backend.letter_box.put([encode_letter(letter) for letter in letters])  # type: ignore[attr-defined]
    return letters


def resend(bridge: Bridge, colour: str) -> list[Resent]:
    return asyncio.run(bridge.aresend_dead_letters()) if colour == "asyncio" else bridge.resend_dead_letters()


def numbers(bridge: Bridge, channel: str) -> list[Any]:
    return [event.data for event in bridge.history(channel, limit=1000)]


def expected(letters: Sequence[DeadLetter], channel: str) -> list[Any]:
    return [event.data for letter in letters if letter.channel == channel for event in letter.events]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("order", ORDERS.values(), ids=list(ORDERS))
def test_a_key_of_another_type_and_an_acl_keep_their_own_letters(
    private_redis: Callable[..., RedisServer], order: list[str], colour: str
) -> None:
    patterns = ("retention", "dead", "0:{well*", "0:{typed}*", "0:{.*")
    rules = " ".join(f"{kind}p:{pattern}" for kind in "~&" for pattern in patterns)
    server = private_redis(config=[f"user default on nopass +@all {rules}"])
    assert server.command("HSET", "p:0:{typed}", "a", "b") == b":1\r\n"
    with Bridge(server.url, prefix="p") as bridge:
        letters = put(bridge, order)
        bad = [letter for letter in letters if letter.channel in BAD]
        for tried in (letters, bad):
            results = resend(bridge, colour)
            assert [each.letter for each in results] == tried
            for letter, result in results:
                assert isinstance(result, BackendError if letter in bad else Position)
                if letter in bad:
                    assert repr(letter.channel) in str(result)
                    assert ("NOPERM" in str(result)) == (letter.channel == "forbidden")
            assert bridge.dead_letters() == bad
            assert all(numbers(bridge, name) == expected(letters, name) for name in ("well0", "well1"))
        server.command("ACL", "SETUSER", "default", "allkeys", "allchannels")
        server.command("DEL", "p:0:{typed}")
        assert all(isinstance(each.result, Position) for each in resend(bridge, colour))
        assert (bridge.dead_letters(), resend(bridge, colour)) == ([], [])
        assert all(numbers(bridge, name) == expected(letters, name) for name in set(order))


@pytest.mark.parametrize("colour", COLOURS)
def test_letters_of_a_clusters_dead_primary_wait_and_those_of_the_others_go(colour: str) -> None:
    """It is frozen in one colour: what it was sent meanwhile it takes later, and it is no second event."""
    require("redis7")
    frozen = colour == "threads"
    with RedisCluster() as cluster:
        for server in cluster.servers:
            server.command("CONFIG", "SET", "cluster-require-full-coverage", "no")

        def owner(channel: str) -> int:
            return cluster.owner(slot_of(channel))

        url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in cluster.ports)
        with Bridge(url, prefix="p", publish_timeout_seconds=2) as bridge:
            dead = next(index for index in range(3) if index not in (owner("p:dead"), owner("p:retention")))
            channels = [f"c{number}" for number in range(30)] * 2
            there = {channel for channel in channels if owner(channel) == dead}
            letters = put(bridge, channels)
            waiting = [letter for letter in letters if letter.channel in there]
            bridge.publish(next(f"b{number}" for number in range(1000) if owner(f"b{number}") == dead), "connects")
            server = cluster.servers[dead]
            server.pause() if frozen else server.kill()
            results = resend(bridge, colour)
            sent = [each.letter for each in results if isinstance(each.result, Position)]
            assert sent == [letter for letter in letters if letter not in waiting]
            kept = [each for each in results if each.letter in waiting]
            assert len(sent) + len(kept) == len(results)
            assert all(isinstance(each.result, (BackendUnavailable, PublishUncertain)) for each in kept)
            assert isinstance(kept[0].result, PublishUncertain) == frozen
            assert 1 <= len(kept) < len(waiting), "the others of that primary are left out"
            assert bridge.dead_letters() == waiting
            assert all(numbers(bridge, name) == expected(letters, name) for name in channels if name not in there)

            server.resume() if frozen else server.start()
            wait_for(lambda: b"cluster_state:ok" in server.command("CLUSTER", "INFO"), what="the node to be back")

            def resent() -> bool:
                outcomes = resend(bridge, colour)
                assert all(each.letter in waiting for each in outcomes)
                return not bridge.dead_letters()

            wait_for(resent, what="the letters that waited")
            assert all(numbers(bridge, name) == expected(letters, name) for name in channels)
