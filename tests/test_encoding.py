"""What a caller publishes, as the bytes that a reader gets; and what is refused, by which name."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import subprocess
import sys
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge import Bridge, Json, Text
from sse_bridge.encoding import encode_data
from sse_bridge.errors import EventTooLarge, InvalidData
from sse_bridge.filters import PUBLIC
from sse_bridge.streams.sources.items import item_frame
from sse_bridge.wire import SSE_FORMAT


class Status(str, enum.Enum):  # noqa: UP042  # what applications have
    PAID = "paid"


class Level(enum.IntEnum):
    HIGH = 3


class Mode(enum.Enum):
    FAST = ("fast", 1)
    NONE = None


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Order:
    status: Status
    counts: dict[Any, int]


class Model(pydantic.BaseModel):
    status: Status
    anything: Any = None


def decoded(data: Any) -> Any:
    kind, encoded = encode_data(data, 1_000_000)
    assert kind == "J"
    return json.loads(encoded)


def without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


keys = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["None", "null", "NaN"])
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_keys_are_those_of_json(value: Any) -> None:
    assert decoded(value) == json.loads(json.dumps(without_nan(value)))


def test_keys_that_pydantic_writes_otherwise() -> None:
    assert decoded({None: 1, True: 2, math.nan: 3, -math.inf: 4, 1e16: 5}) == {
        "null": 1, "true": 2, "NaN": 3, "-Infinity": 4, "1e+16": 5,
    }  # fmt: skip
    assert decoded([({None: ({None: 1},)},), {"None": 2}]) == [[{"null": [{"null": 1}]}], {"None": 2}]
    assert decoded({"None": 1, "of": (n for n in (1, 2))}) == {"None": 1, "of": [1, 2]}
    with pytest.raises(InvalidData, match="must hold no iterator"):
        decoded({None: 1, "of": (n for n in (1, 2))})


def test_members_of_enums() -> None:
    assert decoded([Status.PAID, Level.HIGH, Mode.FAST, Mode.NONE, Right.READ | Right.WRITE]) == [
        "paid",
        3,
        ["fast", 1],
        None,
        3,
    ]
    assert decoded({Status.PAID: Status.PAID, Level.HIGH: 1}) == {"paid": "paid", "3": 1}
    assert decoded(Order(Status.PAID, {Level.HIGH: 1})) == {"status": "paid", "counts": {"3": 1}}
    assert decoded(Model(status=Status.PAID, anything=[Level.HIGH])) == {"status": "paid", "anything": [3]}


def test_members_of_enums_as_names() -> None:
    class Channel(str, enum.Enum):  # noqa: UP042  # what applications have
        ORDERS = "orders:42"

    with Bridge("memory://", token_secret="s" * 32) as bridge, bridge.subscribe(Channel.ORDERS) as stream:
        assert stream.wait_ready(60)
        bridge.publish(Channel.ORDERS, 1, type=Status.PAID)
        bridge.publish_many([(Channel.ORDERS, 2, Status.PAID)])
        for number in (1, 2):
            event = stream.next(60)
            assert event is not None
            assert (event.channel, event.type, event.data) == ("orders:42", "paid", number)
            assert (type(event.channel), type(event.type)) == (str, str)
        assert [event.data for event in bridge.history(Channel.ORDERS)] == [1, 2]
        bridge.revoke(channel=Channel.ORDERS)
        bridge.token([Channel.ORDERS])
        bridge.close_channel(Channel.ORDERS)
    assert item_frame({"event": Status.PAID, "data": 1, "id": Level.HIGH}, SSE_FORMAT, PUBLIC).startswith(
        b"id: 3\nevent: paid\n"
    )


def test_subclasses_of_str_are_text() -> None:
    class Markup(str):
        __slots__ = ()

        def __html__(self) -> str:
            return self

    assert decoded({Markup("<b>"): Markup("<i>")}) == {"<b>": "<i>"}
    assert encode_data(Text(Markup("<b>")), 100) == ("T", b"<b>")
    assert item_frame(Markup("<b>"), SSE_FORMAT, PUBLIC) == b"data: <b>\n\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (object(), "builtins.object, which has none"),
        ({"a": [range(3)]}, "builtins.range"),
        (Model(status=Status.PAID, anything=object()), "builtins.object"),
        (b"\xff", "utf-8"),
        ("\ud800", "surrogates"),
        ({frozenset(): 1}, "not valid as object key"),
        (Text(5), "Text.. takes a str, got int"),  # type: ignore[arg-type]
        (Text(b"x"), "Text.. takes a str, got bytes"),  # type: ignore[arg-type]
        (Text("\ud800"), "valid Unicode"),
        (Json("{}"), "Json.. takes encoded bytes, got str"),  # type: ignore[arg-type]
        (Json(5), "Json.. takes encoded bytes, got int"),  # type: ignore[arg-type]
    ],
)
def test_what_has_no_form_is_refused_by_its_name(data: Any, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        encode_data(data, 1000)


def test_a_cycle_and_a_long_one() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(InvalidData):
        encode_data(cycle, 1000)
    with pytest.raises(EventTooLarge, match="at most max_event_bytes=10"):
        encode_data("x" * 9, 10)


def test_no_framework_is_loaded_for_it() -> None:
    code = (
        "import sys; from sse_bridge.encoding import encode_data\n"
        "try: encode_data(object(), 100)\n"
        "except ValueError: print([name for name in ('django', 'flask', 'wtforms', 'rest_framework') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
