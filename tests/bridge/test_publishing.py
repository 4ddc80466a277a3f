"""What may be published, and what comes of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import uuid
from typing import Any

import pydantic
import pytest

from sse_bridge import Event, Json, Position, Text, Visibility
from sse_bridge.errors import (
    ChannelClosed,
    EventTooLarge,
    InvalidChannel,
    InvalidData,
    InvalidEventType,
    InvalidInput,
)

from .both import Both, data


def test_ephemeral_events_are_live_only(both: Both) -> None:
    both.publish("a", 1)
    stream = both.subscribe("a")
    assert both.publish("a", "typing", visibility="live_ui_only") is None
    assert both.publish("a", "also", store=False) is None
    both.publish("a", 2)
    events = [stream.next() for _ in range(3)]
    assert data(events) == ["typing", "also", 2]
    assert [event.id is None for event in events] == [True, True, False]
    assert events[0].visibility is Visibility.LIVE_UI_ONLY
    assert data(both.history("a")) == [1, 2]
    late = both.subscribe("a", after=both.history("a")[0].id)
    assert late.next().data == 2
    stream.close()
    late.close()


def test_publish_many_is_all_or_nothing_per_channel(both: Both) -> None:
    both.close_channel("shut")
    results = both.publish_many(
        [("a", 1), Event("b", 2, type="t"), ("a", 3, "t"), ("shut", 4), ("b", object()), ("bad name", 5), "nonsense"]
    )
    assert [type(result) for result in results] == [
        Position, InvalidInput, Position, ChannelClosed, InvalidData, InvalidChannel, InvalidInput,
    ]  # fmt: skip
    assert (results[0].offset, results[2].offset) == (1, 2)
    assert data(both.history("a")) == [1, 3]
    assert both.history("b") == []


def test_an_item_of_publish_many_may_be_anything(both: Both) -> None:
    results = both.publish_many([(["a"], 1), (None, 2), ("a", 3)])
    assert [type(result) for result in results] == [InvalidChannel, InvalidChannel, Position]


def test_an_idempotency_key_lets_the_first_payload_win(both: Both) -> None:
    first = both.publish("a", "one", idempotency_key="k")
    both.publish("a", "between")
    assert both.publish("a", "two", idempotency_key="k") == first
    assert both.publish("other", "x", idempotency_key="k") != first
    assert data(both.history("a")) == ["one", "between"]


def test_every_kind_of_data(both: Both) -> None:
    class Order(pydantic.BaseModel):
        id: int
        at: dt.datetime

    @dataclasses.dataclass
    class Item:
        price: decimal.Decimal

    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    name = uuid.uuid4()
    values = [
        (Order(id=1, at=moment), {"id": 1, "at": "2026-01-02T03:04:05Z"}),
        (Item(decimal.Decimal("1.10")), {"price": "1.10"}),
        ({"u": name, "nan": float("nan"), "text": "a\u2028b\x85c\nd"}, {"u": str(name), "nan": None, "text": "a\u2028b\x85c\nd"}),
        (Json(b'{"raw": [1,\n2]}'), {"raw": [1, 2]}),
        (Text("plain\r\ntext"), "plain\r\ntext"),
        (None, None),
    ]  # fmt: skip
    for given, _ in values:
        both.publish("a", given)
    assert data(both.history("a")) == [expected for _, expected in values]


@pytest.mark.parametrize("channel", ["", "a b", "a\n", "ä", "{x}", "-a", "a" * 201, 7, None, ["a"]])
def test_bad_channel_names(both: Both, channel: Any) -> None:
    with pytest.raises(InvalidChannel, match=r"must match \[A-Za-z0-9\]"):
        both.publish(channel, 1)


@pytest.mark.parametrize("type", ["open", "error", "stream.end", "a b", "a\nb", "", 7])
def test_bad_types(both: Both, type: Any) -> None:
    with pytest.raises(InvalidEventType):
        both.publish("a", 1, type=type)
    assert both.history("a") == []


def test_bad_data(both: Both) -> None:
    for bad in (object(), Text("\ud800"), {"x": [object()]}, "\ud800"):
        with pytest.raises(InvalidData):
            both.publish("a", bad)
    with pytest.raises(EventTooLarge, match="max_event_bytes=65536"):
        both.publish("a", "x" * 70_000)
    both.publish("a", "x" * 60_000)
    assert len(both.history("a")[0].data) == 60_000
    for bad_key in ("", "k" * 201, 7):
        with pytest.raises(InvalidInput):
            both.publish("a", 1, idempotency_key=bad_key)
