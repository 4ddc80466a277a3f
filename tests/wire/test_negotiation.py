"""Which format a client gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.errors import ConfigurationError, NotAcceptable
from sse_bridge.wire import CHANNEL_FORMATS, NDJSON_FORMAT, SOURCE_FORMATS, WEBSOCKET_FORMAT, choose, negotiate


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        (None, "sse"),
        ("", "sse"),
        ("*/*", "sse"),  # curl, requests
        ("text/*", "sse"),
        ("text/event-stream", "sse"),
        ("TEXT/Event-Stream", "sse"),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8",
            "sse",
        ),  # a browser's address bar
        ("application/x-ndjson", "ndjson"),
        ("application/jsonl", "ndjson"),
        ("text/plain; charset=utf-8", "text"),
        ("application/json", "json_array"),
        ("application/json, text/event-stream", "sse"),  # equal: the first offered wins
        ("application/x-ndjson, */*", "ndjson"),  # equal, but named
        ("application/json, */*", "sse"),  # of HTTP libraries, which mean nothing by it
        ("application/json, text/plain, */*", "sse"),  # axios
        ("application/json, text/javascript, */*; q=0.01", "sse"),  # jQuery
        ("application/json, text/plain, application/x-ndjson, */*", "ndjson"),
        ("text/plain, */*", "text"),
        ("application/json, text/plain", "text"),
        ("application/json, */*;q=0", "json_array"),
        ("text/event-stream;q=0, text/plain;q=0, application/json, */*", "ndjson"),
        ("application/json;q=0.5, */*", "sse"),
        ("text/event-stream;q=0.1, application/x-ndjson;q=0.2", "ndjson"),
        ("text/event-stream;q=0, */*;q=0.1", "ndjson"),
        ("text/*;q=0, */*", "ndjson"),
        ("text/*;q=0.5, text/plain;q=1.000", "text"),
        ("application/octet-stream", "bytes"),
        ("text/event-stream; q=0.9 ; version=2, application/x-ndjson; Q=0.95", "ndjson"),
        ("garbage", "sse"),
        (",;,/,*/text,;q=1", "sse"),
        ("garbage, application/x-ndjson", "ndjson"),
        ("application/x-ndjson;q=7, text/plain;q=0.2", "text"),  # malformed quality: the member is ignored
        ("application/x-ndjson;q=nan, text/plain;q=\u0660", "sse"),
    ],
)
def test_accept(accept: str | None, name: str) -> None:
    assert negotiate(SOURCE_FORMATS, accept=accept).name == name


@pytest.mark.parametrize("accept", ["image/png", "text/event-stream;q=0", "*/*;q=0", "text/html, application/json"])
def test_nothing_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="text/event-stream") as caught:
        negotiate(CHANNEL_FORMATS, accept=accept)
    assert caught.value.http_status == 406


def test_a_name_overrules_the_header() -> None:
    assert negotiate(CHANNEL_FORMATS, "ndjson", "text/event-stream") is NDJSON_FORMAT


@pytest.mark.parametrize("name", ["json_array", "xml", "", "SSE", "x" * 10_000])
def test_a_name_that_is_not_offered(name: str) -> None:
    with pytest.raises(NotAcceptable, match="sse, ndjson, text"):
        negotiate(CHANNEL_FORMATS, name)


def test_an_endpoint_s_own_mistake_is_not_the_client_s() -> None:
    with pytest.raises(ConfigurationError, match=r"one of sse, ndjson, text, sse-data.*got 'json_array'"):
        choose(CHANNEL_FORMATS, "json_array", None, None)
    with pytest.raises(ConfigurationError, match="type_in_data=True is for format='sse-data', got format='ndjson'"):
        choose(CHANNEL_FORMATS, "ndjson", None, None, type_in_data=True)


def test_the_default_is_the_first_offered() -> None:
    assert negotiate((NDJSON_FORMAT, *CHANNEL_FORMATS)).name == "ndjson"
    assert negotiate((WEBSOCKET_FORMAT,)).name == "websocket"


@given(st.text() | st.text("abtexpliondjs/*;q=0.1, "))
def test_any_header_gets_an_answer(accept: str) -> None:
    try:
        assert negotiate(SOURCE_FORMATS, accept=accept) in SOURCE_FORMATS
    except NotAcceptable:
        pass
