"""`replay_size=0`: nothing is kept, and everything else is as exact as ever: live events arrive, what was missed is a gap."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from sse_bridge import Bridge, Event
from sse_bridge.backends.base import Append, NewEntry
from sse_bridge.backends.redis.keys import Keys
from sse_bridge.backends.redis.scripts import Codec
from sse_bridge.events import Visibility, new_token
from sse_bridge.records.codec import record_head
from tests.support.wait import wait_for

from .both import Both, data

Make = Callable[[], Both]


@pytest.fixture(params=["memory-sync", "memory-async", "redis-sync", "redis-async"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes bridges to one broker, each as if in a process of its own; on memory there can be one.

    No subscription lingers: what a process still has in a channel's window it may give to who resumes there.
    """
    kind, colour = request.param.split("-")
    url = "memory://" if kind == "memory" else request.getfixturevalue("redis_url")
    prefix = f"t{uuid.uuid4().hex[:12]}"
    made: list[Both] = []

    def one() -> Both:
        if kind == "memory" and made:
            return made[0]
        made.append(Both(Bridge(url, prefix=prefix, replay_size=0, linger_seconds=0), colour == "async"))
        return made[-1]

    yield one
    for both in made:
        both.close()


def taken(stream: Any, count: int) -> list[Event]:
    events = [stream.next() for _ in range(count)]
    assert None not in events
    return events


def test_live_events_arrive_whatever_their_size(make: Make) -> None:
    both = make()
    stream = both.subscribe("a")
    large = "x" * 60_000  # longer than what is announced of an entry that can be read
    both.publish("a", 1)
    both.publish("a", large)
    both.publish_many([("a", 2), ("a", large), ("b", 0), ("a", 3)])
    both.publish("a", 4, store=False)
    both.close_channel("a", reason="done")
    events = taken(stream, 7)
    assert data(events[:6]) == [1, large, 2, large, 3, 4]
    assert events[6].type == "stream.end"
    assert [event.position.offset for event in events[:5] if event.position] == [1, 2, 3, 4, 5]
    stream.close()


def test_nothing_is_kept(make: Make) -> None:
    both = make()
    for number in range(40):
        both.publish("a", number)
    both.publish_many([("a", number) for number in range(40)])
    assert both.history("a") == []
    for start in ({"after": "earliest"}, {"last": 10}):
        stream = make().subscribe("a", **start)
        assert stream.next(0.05) is None
        both.publish("a", "now")
        assert taken(stream, 1)[0].data == "now"
        stream.close()
    if "redis" in str(both.bridge.settings.url):
        with closing(redis.Redis.from_url(both.bridge.settings.url)) as admin:
            kinds = {admin.type(key) for key in admin.scan_iter(f"{both.bridge.settings.prefix}:*")}
            assert b"list" not in kinds


def test_who_missed_nothing_is_told_nothing(make: Make) -> None:
    first = make().publish("a", 1)
    resumed = make().subscribe("a", after=str(first))
    assert resumed.next(0.05) is None
    make().publish("a", 2)
    second = taken(resumed, 1)[0]
    make().publish("a", 3)
    again = make().subscribe("a", after=second.id)  # in a process that still has it in its window
    assert taken(again, 1)[0].data in (3, {"channel": "a", "reason": "expired", "missed": None})
    for stream in (resumed, again):
        stream.close()


def test_who_was_away_for_an_event_is_told_once(make: Make) -> None:
    both = make()
    first = both.publish("a", 1)
    both.publish("a", 2)
    last = both.publish("a", 3)
    late = make().subscribe("a", after=str(first))
    gap = taken(late, 1)[0]
    assert (gap.type, gap.data["channel"], gap.data["missed"]) == ("stream.gap", "a", None)
    assert gap.data["reason"] == "expired"
    assert gap.id == str(last)
    both.publish("a", 4)
    assert data(taken(late, 1)) == [4]
    assert late.next(0.05) is None
    late.close()


def test_a_closed_channel_ends_for_who_comes_late(make: Make) -> None:
    both = make()
    first = both.publish("a", 1)
    both.close_channel("a", reason="done")
    late = make().subscribe("a", after=str(first))
    assert [event.type for event in late.rest()] == ["stream.gap", "stream.end"]


def test_a_lost_link_loses_events_and_says_so(redis_url: str) -> None:
    prefix = f"t{uuid.uuid4().hex[:12]}"
    options = {"prefix": prefix, "replay_size": 0, "check_seconds": 0.2}
    with (
        Bridge(redis_url, **options) as writer,
        Bridge(redis_url, **options) as reader,
        closing(redis.Redis.from_url(redis_url)) as admin,
        reader.subscribe("a") as stream,
    ):
        assert stream.wait_ready(60)
        offset = 0
        for number in range(1, 61):
            if number % 20 == 10:
                for client in admin.client_list(_type="pubsub"):
                    if client["sub"] == "1" or client["sub"] == "2":
                        admin.client_kill_filter(_id=client["id"])
            writer.publish("a", number)
        while offset < 60:
            event = stream.next(60)
            assert event is not None, f"silence behind {offset}"
            if event.type == "stream.gap":
                offset = int(event.id.split("-")[2]) if event.id else 0
            else:
                assert event.position is not None
                assert event.position.offset == offset + 1, "a hole that nobody told of"
                offset = event.position.offset

        def alive() -> bool:
            writer.publish("a", "more")
            event = stream.next(1)
            return event is not None and event.data == "more"

        wait_for(alive, what="a live event behind the last gap")


def test_the_fate_of_a_first_attempt(redis_url: str) -> None:
    """The script, asked as a retry asks: nothing that is kept could show it, but the time of the last append may."""
    codec = Codec(Keys(f"t{uuid.uuid4().hex[:12]}", 0), 0, 60.0, False)
    head = record_head(Visibility.USER_FACING, "J", "message")
    with closing(redis.Redis.from_url(redis_url)) as admin:

        def append(check: bytes, age_ms: int | None = None) -> list[Any]:
            arguments = codec.append(Append("a", (NewEntry(check, head, b"1"),)), age_ms)
            reply = admin.eval(codec.append_script.source.decode(), *[int(arguments[0]), *arguments[1:]])
            return reply if isinstance(reply, list) else [reply, 0, check, 0, 1]

        append(first := new_token())
        assert append(first, 60_000)[3] == 1  # the newest entry is recognised
        with pytest.raises(redis.ResponseError, match="UNCERTAIN"):
            append(new_token(), 5000)  # somebody published within these 5 s, perhaps this one
        began = float("{}.{:06}".format(*admin.time()))
        wait_for(lambda: float("{}.{:06}".format(*admin.time())) > began + 2.1, what="the clock of Redis")
        assert append(second := new_token(), 0)[3] == 0  # nobody has since it was first sent
        assert append(second, 60_000)[3] == 1
