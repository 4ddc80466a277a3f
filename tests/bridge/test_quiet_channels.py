"""Reading leaves nothing behind: a channel that nobody published to costs no key and nobody's log."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from sse_bridge import Bridge
from sse_bridge.events import channel_key

from .both import Both, data


def kept(bridge: Bridge) -> list[str]:
    """What the broker holds of channels."""
    if bridge.backend.name == "memory":
        return list(bridge.backend._logs)  # type: ignore[attr-defined]
    with redis.Redis.from_url(bridge.settings.url) as client:
        names = [name.decode() for name in client.keys(f"{bridge.settings.prefix}:*")]
    return [name for name in names if not name.endswith(":retention")]


def test_reading_and_ephemeral_events_leave_nothing_behind(both: Both) -> None:
    streams = [both.subscribe(f"quiet:{number}") for number in range(20)]
    assert both.history("quiet:0") == []
    both.publish("quiet:1", "typing", visibility="live_ui_only")
    assert streams[1].next().data == "typing"
    assert kept(both.bridge) == []
    for stream in streams:
        stream.close()


def test_an_id_from_before_the_first_entry_takes_the_first_life_whole(both: Both) -> None:
    stream = both.subscribe(["a", "b"])
    stream.close()
    at_nothing = stream.stream.id
    assert at_nothing == ".".join(f"{channel_key(name).decode()}-0-0-0" for name in ("a", "b"))
    for n in range(5):
        both.publish("a", n)
    assert data(both.history("a", after=at_nothing)) == [0, 1, 2, 3, 4]
    for _ in range(2):  # it still names the channel that has no entry
        stream = both.subscribe(["a", "b"], after=at_nothing)
        events = [stream.next() for _ in range(5)]
        assert data(events) == [0, 1, 2, 3, 4]
        assert stream.next(0.05) is None
        stream.close()
    both.publish("b", "first")
    stream = both.subscribe(["a", "b"], after=events[-1].id)
    assert stream.next().data == "first"
    stream.close()


def test_a_reader_that_waits_for_the_first_entry_gets_it_and_no_gap(both: Both) -> None:
    stream = both.subscribe("a")
    both.publish("a", "ephemeral", visibility="live_ui_only")
    first = both.publish("a", 1)
    both.publish("a", 2)
    events = [stream.next() for _ in range(3)]
    assert [(event.type, event.data) for event in events] == [("message", each) for each in ("ephemeral", 1, 2)]
    assert [event.position for event in events[:2]] == [None, first]
    stream.close()


@pytest.mark.parametrize("large", [False, True])
def test_a_first_append_of_several_and_of_large_events(both: Both, large: bool) -> None:
    items: list[Any] = ["x" * (20_000 if large else 1), "y"]
    stream = both.subscribe("a")
    both.publish_many([("a", item) for item in items])
    assert data([stream.next(), stream.next()]) == items
    stream.close()
