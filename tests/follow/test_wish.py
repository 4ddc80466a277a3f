"""Requests to subscribe are interned, and nobody can tell but by their identity."""

from __future__ import annotations

import enum
import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge import Event
from sse_bridge.config import Settings
from sse_bridge.errors import InvalidInput, SSEBridgeError
from sse_bridge.events import channel_key
from sse_bridge.filters import PUBLIC, ByType, Where
from sse_bridge.follow.subscribe_request import make_request

SETTINGS = Settings()
IDS = [f"{channel_key(name).decode()}-e{epoch}-{offset}-c" for name in "ab" for epoch in "12" for offset in (1, 2)]

asked = st.fixed_dictionaries(
    {"channels": st.one_of(st.sampled_from("ab"), st.lists(st.sampled_from(["a", "b", "", "é"]), max_size=3))},
    optional={
        "after": st.sampled_from([*IDS, ".".join(IDS[::4]), "earliest", "now", "", "x", 5, None]),
        "last": st.sampled_from([0, 1, True, False, 1.0, "1", None]),
        "start": st.sampled_from(["earliest", "now", "x", None]),
        "filter": st.sampled_from([PUBLIC, ByType("*"), None]),
        "policy": st.sampled_from(["drop_oldest", "disconnect", "x", None]),
        "queue_size": st.sampled_from([1, True, None]),
    },
)


class Name(enum.StrEnum):
    NEWS = "news"


def outcome(make: Any, *args: Any, **options: Any) -> Any:
    try:
        return make(*args, **options)
    except SSEBridgeError as error:
        return type(error), str(error)


@given(requests=st.lists(asked, min_size=2, max_size=6))
def test_it_is_what_an_own_one_would_be(requests: list[dict[str, Any]]) -> None:
    for options in requests:
        interned = outcome(make_request, SETTINGS, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sse_bridge.follow.subscribe_request.INTERNED_CHARACTERS", -1)
            assert outcome(make_request, SETTINGS, **options) == interned


def test_readers_that_come_back_to_the_same_place_share_one() -> None:
    one = make_request(SETTINGS, ["a", "b"], after=IDS[0], filter=PUBLIC)
    assert make_request(SETTINGS, ("a", "b"), after="".join(IDS[0]), filter=PUBLIC) is one
    for other in (
        make_request(SETTINGS, ["b", "a"], after=IDS[0], filter=PUBLIC),
        make_request(SETTINGS, ["a", "b"], after=IDS[1], filter=PUBLIC),
        make_request(SETTINGS, ["a", "b"], after=IDS[0]),
        make_request(SETTINGS, ["a", "b"], after=IDS[0], filter=PUBLIC, queue_size=7),
        make_request(Settings(queue_size=7), ["a", "b"], after=IDS[0], filter=PUBLIC),
    ):
        assert other != one
    with pytest.raises(InvalidInput, match="max_channels=1"):
        make_request(Settings(max_channels=1), ["a", "b"], after=IDS[0], filter=PUBLIC)


def test_what_equals_a_text_or_a_number_is_not_taken_for_it() -> None:
    assert type(make_request(SETTINGS, Name.NEWS).channels[0]) is str
    assert type(make_request(SETTINGS, [Name.NEWS]).channels[0]) is str
    make_request(SETTINGS, "news", last=1)
    with pytest.raises(InvalidInput, match="whole number"):
        make_request(SETTINGS, "news", last=True)


def test_a_predicate_is_let_go_with_its_reader() -> None:
    class Predicate:
        def __call__(self, event: Event) -> bool:
            return True

    predicate = Predicate()
    request = make_request(SETTINGS, "news", filter=PUBLIC & Where(predicate))
    held = weakref.ref(predicate)
    del request, predicate
    gc.collect()
    assert held() is None
