"""Dead letters are resent each with an outcome of its own: what keeps one of them keeps no other."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge import Bridge
from sse_bridge.backends.base import Append, Appended
from sse_bridge.backends.memory import MemoryBackend
from sse_bridge.config import Settings
from sse_bridge.dead_letters import Resent
from sse_bridge.errors import BackendError, BackendUnavailable, PublishUncertain, SSEBridgeError
from sse_bridge.events import Position
from sse_bridge.publishing.letters import DeadLetter, encode_letter
from tests.backends.sides import batch

GOOD = ["good", "well", "fine"]
BAD: dict[str, SSEBridgeError] = {
    "type": BackendError("WRONGTYPE"),
    "acl": BackendError("NOPERM", permanent=True),
    "odd": PublishUncertain("the answer says nothing"),
}
SERVERS = ["x", "y", "z"]  # the first letter of a channel names its server


class Box:
    """A letter box in a list."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []

    def put(self, letters: list[bytes]) -> None:
        self.stored += letters

    def look(self, limit: int) -> list[bytes]:
        return self.stored[:limit]

    def remove(self, letters: list[bytes]) -> None:
        self.stored = [each for each in self.stored if each not in letters]


class Broker(MemoryBackend):
    """Memory with a letter box, which refuses some channels and whose servers may be away."""

    def __init__(self) -> None:
        super().__init__(Settings(replay_size=1000))
        self.letter_box = Box()
        self.refused: dict[str, SSEBridgeError] = {}
        self.away: set[str] = set()
        self.tried: list[str] = []

    def append(self, batch: Append) -> Appended:
        self.tried.append(batch.channel)
        if batch.channel in self.refused:
            raise self.refused[batch.channel]
        if batch.channel[0] in self.away:
            raise BackendUnavailable(f"{batch.channel[0]} is away")
        return super().append(batch)


class Cluster(Broker):
    """As a cluster's routes do, it may know no owner of a channel whose server has just failed."""

    forgets = False

    def server_of(self, channel: str) -> Hashable:
        return None if self.forgets and channel[0] in self.away and channel in self.tried else channel[0]


def put(broker: Broker, channels: Sequence[str]) -> list[DeadLetter]:
    """One dead letter for each channel, numbered by its place."""
    letters = [
        DeadLetter(channel, "refused", "an error", 1, None, batch(channel, b"%d" % number))
        for number, channel in enumerate(channels)
    ]
    broker.letter_box.put([encode_letter(letter) for letter in letters])
    return letters


def numbers(bridge: Bridge, channel: str) -> list[Any]:
    return [event.data for event in bridge.history(channel, limit=1000)]


def expected(channels: Sequence[str], channel: str) -> list[int]:
    return [number for number, each in enumerate(channels) if each == channel]


def resend(bridge: Bridge, asynchronous: bool, **options: Any) -> list[Resent]:
    if asynchronous:
        return asyncio.run(bridge.aresend_dead_letters(**options))
    return bridge.resend_dead_letters(**options)


@given(st.lists(st.sampled_from([*GOOD, *BAD]), max_size=12), st.booleans(), st.integers(0, 3))
def test_letters_of_bad_channels_stay_and_the_others_are_sent_once(
    channels: list[str], asynchronous: bool, doubled: int
) -> None:
    broker = Broker()
    broker.refused = dict(BAD)
    with Bridge(backend=broker) as bridge:
        letters = put(broker, channels)
        broker.letter_box.put(broker.letter_box.stored[:doubled])  # put again, after a reply that was lost
        for _ in range(2):
            waiting = [letter for letter in letters if letter in bridge.dead_letters()]
            results = resend(bridge, asynchronous)
            assert [each.letter for each in results] == waiting
            for letter, result in results:
                assert result is BAD[letter.channel] if letter.channel in BAD else isinstance(result, Position)
            assert bridge.dead_letters() == [letter for letter in letters if letter.channel in BAD]
            assert all(numbers(bridge, name) == expected(channels, name) for name in GOOD)
        broker.refused = {}
        assert all(isinstance(each.result, Position) for each in resend(bridge, asynchronous))
        assert broker.letter_box.stored == []
        assert all(numbers(bridge, name) == expected(channels, name) for name in [*GOOD, *BAD])


@pytest.mark.parametrize("forgets", [False, True])
@given(
    st.lists(st.sampled_from([f"{server}{number}" for server in SERVERS for number in "12"]), max_size=12),
    st.sets(st.sampled_from(SERVERS)),
    st.booleans(),
)
def test_letters_of_a_primary_that_is_away_wait_and_those_of_the_others_go(
    forgets: bool, channels: list[str], away: set[str], asynchronous: bool
) -> None:
    broker = Cluster()
    broker.forgets = forgets
    broker.away = away
    with Bridge(backend=broker) as bridge:
        letters = put(broker, channels)
        results = resend(bridge, asynchronous)
        there = [letter for letter in letters if letter.channel[0] not in away]
        assert [each.letter for each in results if isinstance(each.result, Position)] == there
        unsent = [each.letter.channel for each in results if isinstance(each.result, BackendUnavailable)]
        assert len(there) + len(unsent) == len(results)
        waiting = [letter for letter in letters if letter.channel[0] in away]
        assert {channel[0] for channel in unsent} == {letter.channel[0] for letter in waiting}
        if not forgets:
            assert len({channel[0] for channel in unsent}) == len(unsent), "one deadline per primary that is away"
        assert bridge.dead_letters() == waiting
        broker.away = set()
        assert [each.letter for each in resend(bridge, asynchronous)] == waiting
        assert broker.letter_box.stored == []
        assert all(numbers(bridge, name) == expected(channels, name) for name in set(channels))


@given(st.lists(st.sampled_from([*GOOD, *BAD]), min_size=1, max_size=8), st.data())
def test_a_single_broker_that_goes_away_ends_it_and_loses_nothing(channels: list[str], data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, len(channels) - 1))
    broker = Broker()
    broker.refused = dict(BAD)
    with Bridge(backend=broker) as bridge:
        letters = put(broker, channels)
        broker.refused[channels[lost]] = BackendUnavailable("away")
        first = channels.index(channels[lost])
        results = bridge.resend_dead_letters()
        assert [each.letter for each in results] == letters[: first + 1]
        assert isinstance(results[-1].result, BackendUnavailable)
        kept = [letter for letter in letters[:first] if letter.channel in BAD]
        assert bridge.dead_letters() == [*kept, *letters[first:]]
        broker.refused = {}
        assert all(isinstance(each.result, Position) for each in bridge.resend_dead_letters())
        assert bridge.dead_letters() == []
        assert all(numbers(bridge, name) == expected(channels, name) for name in set(channels))
