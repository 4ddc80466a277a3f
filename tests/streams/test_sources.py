"""Sources as streams: what each item looks like, in both colours of source and of body, and what a client may ask for."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge import Bridge, ByVisibility, Event, Json, Text
from sse_bridge.errors import InvalidInput, NotAcceptable
from sse_bridge.filters import ByType
from sse_bridge.streams import Grant, StreamRequest, stream_source
from sse_bridge.wire import SSE_FORMAT, WEBSOCKET_FORMAT
from tests.streams.source_cases import (
    ANY,
    DRIVERS,
    drivers,
    events,
    open_bridge,
    read_sync,
    stream,
)
from tests.support.sse_parser import parse

bridge = pytest.fixture(open_bridge)


class Model(pydantic.BaseModel):
    a: int


ITEMS = [
    "tok", " en\n\x85", b"caf\xc3\xa9", bytearray(b"\xff"), {"event": "step", "data": {"n": 1}, "id": 7},
    {"event": None, "data": "text"}, {"id": 1, "data": "a row"}, Event("ch", [1], type="order.paid"), Model(a=1), None,
    Json(b'{"raw":\n1}'), Text("raw"), 2.5, [],
]  # fmt: skip


@drivers
def test_items_as_server_sent_events(driver: str, bridge: Bridge) -> None:
    frames = parse(stream(driver, bridge, ITEMS))
    assert [(frame.event, frame.data) for frame in frames] == [
        ("stream.open", "{}"),
        ("message", "tok"),
        ("message", " en\n\x85"),
        ("message", "café"),
        ("message", "\ufffd"),
        ("step", '{"n":1}'),
        ("message", '"text"'),
        ("message", '{"id":1,"data":"a row"}'),
        ("order.paid", "[1]"),
        ("message", '{"a":1}'),
        ("message", "null"),
        ("message", '{"raw": 1}'),
        ("message", "raw"),
        ("message", "2.5"),
        ("message", "[]"),
        ("stream.end", '{"channel":null,"reason":"completed"}'),
    ]
    assert 2000 <= (frames[0].retry or 0) <= 5000
    assert [frame.id for frame in frames if frame.own_id] == ["stream.open", "7", "stream.end"]


ROWS = [
    "tok", " en\n\x85", "café", "\ufffd", {"type": "step", "data": {"n": 1}, "id": "7"}, "text", {"id": 1, "data": "a row"},
    {"type": "order.paid", "data": [1]}, {"a": 1}, None, {"raw": 1}, "raw", 2.5, [],
]  # fmt: skip


@drivers
def test_items_as_json(driver: str, bridge: Bridge) -> None:
    lines = stream(driver, bridge, ITEMS, format="ndjson").split(b"\n")
    assert [json.loads(line) for line in lines[:-1]] == ROWS
    assert lines[-1] == b""
    assert json.loads(stream(driver, bridge, ITEMS, format="json_array")) == ROWS
    assert json.loads(stream(driver, bridge, [], format="json_array")) == []


@drivers
@pytest.mark.parametrize("format", ["text", "bytes"])
def test_items_as_they_are(driver: str, format: str, bridge: Bridge) -> None:
    whole = (
        "tok en\n\x85café".encode()
        + b'\xff{"n":1}\ntext{"id":1,"data":"a row"}\n[1]\n{"a":1}\nnull\n{"raw": 1}\nraw2.5\n[]\n'
    )
    assert stream(driver, bridge, ITEMS, format=format) == whole


def test_messages_of_a_websocket_are_pieces_of_their_own(bridge: Bridge) -> None:
    pieces = read_sync(stream_source(bridge, ["a", "b"], ANY, format=WEBSOCKET_FORMAT))
    assert [json.loads(piece)["type"] for piece in pieces] == ["stream.open", "message", "message", "stream.end"]


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
).filter(lambda value: not (isinstance(value, dict) and "event" in value))
typed = st.fixed_dictionaries({"event": st.sampled_from(["a", "step.done"]), "data": plain})


@given(items=st.lists(plain | typed, max_size=8), driver=st.sampled_from(sorted(DRIVERS)))
def test_any_items_survive(items: list[Any], driver: str) -> None:
    with Bridge() as bridge:
        rows = json.loads(stream(driver, bridge, items, format="json_array"))
        assert rows == [
            {"type": item["event"], "data": item["data"]} if isinstance(item, dict) and "event" in item else item
            for item in items
        ]
        frames = parse(stream(driver, bridge, items))[1:-1]
        assert len(frames) == len(items)
        for frame, item in zip(frames, items, strict=True):
            if isinstance(item, str):
                assert frame.data == item.replace("\r\n", "\n").replace("\r", "\n")
            elif isinstance(item, dict) and "event" in item:
                assert (frame.event, json.loads(frame.data)) == (item["event"], item["data"])
            else:
                assert json.loads(frame.data) == item


# what the client asked for


def test_the_format_follows_the_request(bridge: Bridge) -> None:
    def content_type(request: StreamRequest, **options: Any) -> str:
        return dict(stream_source(bridge, [], request, **options).headers)["Content-Type"]

    assert content_type(ANY) == "text/event-stream"
    assert content_type(StreamRequest(accept="application/x-ndjson")) == "application/x-ndjson"
    assert content_type(StreamRequest(accept="application/json")) == "application/json"
    assert content_type(StreamRequest(accept="application/json, */*;q=0.1")) == "text/event-stream"
    assert content_type(StreamRequest(format="text", accept="text/event-stream")) == "text/plain; charset=utf-8"
    assert content_type(StreamRequest(format="text"), format="bytes") == "application/octet-stream"
    assert content_type(StreamRequest(format="text"), format=SSE_FORMAT) == "text/event-stream"
    assert content_type(ANY, format="text", content_type="text/csv") == "text/csv"
    with pytest.raises(NotAcceptable):
        content_type(StreamRequest(accept="image/png"))
    for wrong in ("text/csv\r\nX: y", "csv"):
        with pytest.raises(InvalidInput, match="media type"):
            content_type(ANY, format="text", content_type=wrong)
    with pytest.raises(InvalidInput, match="text and bytes only"):
        content_type(ANY, content_type="text/csv")


@pytest.mark.parametrize("source", ["text", b"bytes", {"event": "a"}, Model(a=1), 5, None])
def test_what_is_no_source_is_refused_at_once(source: Any, bridge: Bridge) -> None:
    with pytest.raises(InvalidInput, match=r"iterable"):
        stream_source(bridge, source, ANY)


def test_a_client_that_has_seen_the_end_is_told_to_stop(bridge: Bridge) -> None:
    last = parse(read_sync(stream_source(bridge, ["a"], ANY))[-1])[-1].id
    response = stream_source(bridge, ["a"], StreamRequest(last_event_id=last))
    assert (response.status, response.bodies) == (204, None)


def test_a_client_that_was_cut_off_is_told_of_the_restart(bridge: Bridge) -> None:
    first = parse(read_sync(stream_source(bridge, ["a"], ANY))[0])[0].id
    again = StreamRequest(last_event_id=first)
    assert parse(read_sync(stream_source(bridge, ["a"], again))[0])[0].data == '{"restarted":true}'
    assert stream_source(bridge, ["a"], again, restart=False).status == 204
    # the application's own ids are its own business
    assert stream_source(bridge, ["a"], StreamRequest(last_event_id="7"), restart=False).status == 200


def test_only_items_for_browsers_leave_unless_a_filter_asks(bridge: Bridge) -> None:
    items = [Event("c", n, type=f"t.{who}", visibility=who) for n, who in enumerate(["user_facing", "internal_only"])]  # type: ignore[arg-type]

    def seen(**options: Any) -> list[str]:
        return [name for name, _ in events(b"".join(read_sync(stream_source(bridge, [*items, "x"], ANY, **options))))]

    assert seen() == ["stream.open", "t.user_facing", "message", "stream.end"]
    assert seen(filter=ByType("t.*")) == ["stream.open", "t.user_facing", "stream.end"]
    assert seen(filter=ByVisibility("internal_only")) == ["stream.open", "t.internal_only", "stream.end"]
    assert seen(grant=Grant(filter=ByVisibility())) == ["stream.open", "stream.end"]


def test_a_subscription_is_a_source_and_keeps_its_ids_gaps_and_end(bridge: Bridge) -> None:
    for n in range(3):
        bridge.publish("c", n, type="n")
    bridge.close_channel("c")
    with bridge.subscribe("c", after="nonsense") as subscription:
        frames = parse(b"".join(read_sync(stream_source(bridge, subscription, ANY))))
    assert [frame.event for frame in frames] == ["stream.open", "stream.gap", "stream.end", "stream.end"]
    with bridge.subscribe("c", after="earliest") as subscription:
        frames = parse(b"".join(read_sync(stream_source(bridge, subscription, ANY))))
    assert [frame.event for frame in frames] == ["stream.open", "n", "n", "n", "stream.end", "stream.end"]
    rest = parse(b"".join(read_sync(stream_source(bridge, bridge.subscribe("c", after=frames[2].id), ANY))))
    assert [frame.data for frame in rest if frame.event == "n"] == ["2"]
