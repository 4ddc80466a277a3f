"""Whatever others write under our keys and channels in Redis is skipped and told as a gap, and readers survive it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis

from sse_bridge import Bridge
from sse_bridge.backends.redis.keys import Keys
from sse_bridge.errors import SSEBridgeError
from sse_bridge.events import new_token
from sse_bridge.streams import StreamRequest, stream_channels
from tests.support.sse_parser import SSEParser
from tests.support.wait import wait_for

GARBAGE = {
    "nothing": b"",
    "text": b"hello",
    "binary": bytes(range(256)),
    "a head alone": b"1 2 x 3 y uJ t",
    "another version": b"9 2 Check123 1790000000000 Check124 uJ t\n{}",
    "a signed offset": b"1 +2 Check123 1790000000000 Check124 uJ t\n{}",
    "a huge offset": b"1 " + b"9" * 5000 + b" Check123 1790000000000 Check124 uJ t\n{}",
    "another visibility": b"1 2 Check123 1790000000000 Check124 xJ t\n{}",
    "a type with a line break": b"1 2 Check123 1790000000000 Check124 uJ t\rdata: x\n{}",
    "a frame": b"\n\nevent: open\ndata: forged\n\n",
    "a megabyte": b"\xff" * 1_000_000,
}


class Place:
    """One channel, a bridge that follows it over HTTP's body, and somebody else's client."""

    def __init__(self, url: str, admin: redis.Redis) -> None:
        self.prefix = f"p{new_token().decode()}"
        self.bridge = Bridge(url, prefix=self.prefix, check_seconds=0.5, heartbeat_seconds=0.2, replay_size=100)
        self.writer = Bridge(url, prefix=self.prefix, replay_size=100)
        self.admin = admin
        self.meta, self.list = Keys(self.prefix, 0).of("a")
        self.frames: list[Any] = []
        self._parser = SSEParser()
        self._body: Any = None

    def open(self, last_event_id: str | None = None) -> None:
        self.close_body()
        self.frames, self._parser = [], SSEParser()
        bodies = stream_channels(self.bridge, "a", StreamRequest(last_event_id=last_event_id)).bodies
        assert bodies is not None
        self._body = bodies.sync_body()
        self.frames += self._parser.feed(next(self._body))

    def read_until(self, data: str) -> list[Any]:
        def came() -> bool:
            self.frames.extend(self._parser.feed(next(self._body)))  # a heartbeat at the latest
            return any(frame.data == data for frame in self.frames)

        wait_for(came, what=f"{data!r}, got {self.frames[-5:]!r}")
        return self.frames

    def close_body(self) -> None:
        if self._body is not None:
            self._body.close()

    def close(self) -> None:
        self.close_body()
        self.bridge.close()
        self.writer.close()


@pytest.fixture
def place(redis_url: str) -> Iterator[Place]:
    with redis.Redis.from_url(redis_url) as admin:
        place = Place(redis_url, admin)
        yield place
        place.close()


def gaps(frames: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(frame.data) for frame in frames if frame.event == "stream.gap"]


@pytest.mark.parametrize("name", GARBAGE)
def test_a_record_in_the_log(place: Place, name: str) -> None:
    first = place.writer.publish("a", "first")
    place.writer.publish("a", "overwritten")
    place.writer.publish("a", "last")
    place.admin.lset(place.list, 1, GARBAGE[name])
    place.open(str(first))
    frames = place.read_until('"last"')
    assert [frame.data for frame in frames if frame.event == "message"] == ['"last"']
    (gap,) = gaps(frames)
    assert gap["reason"] == "diverged"
    assert "forged" not in str(frames)
    place.writer.publish("a", "and on")
    place.read_until('"and on"')
    assert len(gaps(place.frames)) == 1
    # the iterators of the API meet the same log
    events = place.bridge.history("a")
    assert [event.data for event in events if event.type == "message"] == ["first", "last", "and on"]


@pytest.mark.parametrize("name", GARBAGE)
def test_an_announcement(place: Place, name: str) -> None:
    place.open()
    place.writer.publish("a", "before")
    place.read_until('"before"')
    for payload in (
        GARBAGE[name],
        b"Epoch123 5 3\n" + GARBAGE[name],
        b"Epoch123 99999\n",
        b"\xff\xfe 2\n",
        b"Epoch123 -7\n",
        b"1 1 0 1790000000000 Check123 uT t\nthe first of an epoch that it does not name",
        b"1 2 Wrong123 1790000000000 Check123 uT t\nof another history",
        b"~ 1 Wrong123 1790000000000 Check123 uT t\nof another history",
    ):
        place.admin.publish(place.meta, payload)
    place.writer.publish("a", "after")
    frames = place.read_until('"after"')
    assert [frame.data for frame in frames if frame.event == "message"] == ['"before"', '"after"']
    assert gaps(frames) == []  # the log is the truth, and it is whole


def test_a_forged_next_entry_is_noticed_when_the_log_says_otherwise(place: Place) -> None:
    place.open()
    first = place.writer.publish("a", "first")
    assert first is not None
    place.read_until('"first"')
    forged = f"1 {first.offset + 7} Wrong123 Forged12 1790000000000 uT t\nforged".encode()
    place.admin.publish(place.meta, forged)
    place.admin.publish(place.meta, f"{first.epoch} {first.offset + 7} {len(forged)}\n".encode() + forged)
    place.writer.publish("a", "second")
    frames = place.read_until('"second"')
    assert "forged" not in [frame.data for frame in frames]


WRONG_TYPES: dict[str, Callable[[redis.Redis, Place], Any]] = {
    "the list is a string": lambda admin, place: (admin.delete(place.list), admin.set(place.list, "x")),
    "the list is a hash": lambda admin, place: (admin.delete(place.list), admin.hset(place.list, "x", "y")),
    "the meta is a list": lambda admin, place: (admin.delete(place.meta), admin.rpush(place.meta, "x")),
    "the meta is garbage": lambda admin, place: admin.set(place.meta, bytes(range(256))),
    "the meta is empty": lambda admin, place: admin.set(place.meta, b""),
    "the meta is long": lambda admin, place: admin.set(place.meta, b"9" * 100_000),
}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_keys_of_another_kind(place: Place, name: str) -> None:
    place.open()
    first = place.writer.publish("a", "first")
    place.read_until('"first"')
    WRONG_TYPES[name](place.admin, place)
    with suppress(SSEBridgeError):  # an error of ours if any, never one of redis-py's
        place.writer.publish("a", "uncertain")
    # the reader is still there, and gets what comes when the key is whole again
    place.admin.delete(place.list, place.meta)
    place.writer.publish("a", "again")
    frames = place.read_until('"again"')
    assert {gap["reason"] for gap in gaps(frames)} <= {"epoch", "diverged", "expired"}
    place.open(str(first))
    assert gaps(place.read_until('"again"'))
