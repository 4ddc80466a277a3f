"""What a client asked for, as every adapter reads it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.errors import InvalidInput
from sse_bridge.streams import StreamRequest
from sse_bridge.streams.http.request import _read


@pytest.mark.parametrize(
    "name",
    ["lastEventId", "Last-Event-ID", "lastEventID", "last-event-id", "last_event_id", "LastEventId"],
)
def test_polyfills_send_the_id_in_the_query(name: str) -> None:
    assert StreamRequest.from_http({}, f"{name}=x-1").last_event_id == "x-1"
    assert StreamRequest.from_http({}, [(name, "x-1")]).last_event_id == "x-1"


def test_the_header_wins_and_then_what_a_reconnect_added() -> None:
    query = "after=page&lastEventId=&lastEventId=first&lastEventId=second"
    assert StreamRequest.from_http({"last-event-id": "header"}, query).last_event_id == "header"
    assert StreamRequest.from_http({"last-event-id": ""}, query).last_event_id == "second"
    assert StreamRequest.from_http({}, query).last_event_id == "second"
    assert StreamRequest.from_http({}, "after=page&lastEventId=").last_event_id == "page"
    assert StreamRequest.from_http({}, "after=earliest&lastEventId=x").last_event_id == "x"


@pytest.mark.parametrize("name", ["last", "eventid", "lasteventids", "last-event-id-of-somebody-else"])
def test_what_is_no_id(name: str) -> None:
    assert StreamRequest.from_http({}, f"{name}=7").last_event_id is None


def test_a_replaced_polyfill_came_back_by_itself_as_one_with_the_header_does() -> None:
    by_query = StreamRequest.from_http({}, "lastEventId=x-1.replaced")
    by_header = StreamRequest.from_http({"last-event-id": "x-1.replaced"}, "")
    assert by_query == by_header
    assert (by_query.replaced, by_query.last_event_id) == (True, "x-1")
    assert not StreamRequest.from_http({}, "after=x-1.replaced").replaced


fields = st.sampled_from(["after=x-1", "after=now", "last=3", "last=x", "channel=a", "channels=b,c", "lastEventId=y-1"])
headers = st.dictionaries(
    st.sampled_from(["last-event-id", "accept", "accept-encoding", "origin", "cookie"]),
    st.sampled_from(["", "x-1", "y-1.replaced", "text/plain"]),
)


@given(headers=headers, query=st.lists(fields, max_size=4).map("&".join))
def test_what_is_interned_is_what_was_asked(headers: dict[str, str], query: str) -> None:
    texts = [headers.get(name) for name in ("last-event-id", "accept", "accept-encoding", "origin")]
    try:
        own = _read(query, *texts)
    except InvalidInput as error:
        with pytest.raises(InvalidInput, match=re.escape(str(error))):
            StreamRequest.from_http(headers, query)
    else:
        assert StreamRequest.from_http(headers, query) == own
        assert StreamRequest.from_http(dict(headers), query) is StreamRequest.from_http(headers, query)
