"""What a view returns, through Flask's own test client."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from flask import Flask, Response

from sse_bridge import Bridge
from sse_bridge.errors import AsyncContextError, BackendUnavailable, InvalidInput, TooManyStreams
from sse_bridge_flask import SSEBridge, aevent_stream, event_stream
from tests.support.sse_parser import SSEParser
from tests.support.wait import wait_for


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    app.testing = True
    SSEBridge(app, default=False)
    return app


@pytest.fixture
def bridge(app: Flask) -> Bridge:
    bridge: Bridge = app.extensions["sse_bridge"]
    return bridge


def frames(app: Flask, path: str, count: int, **options: Any) -> list[tuple[str, str]]:
    """The first `count` frames after ``stream.open``."""
    parser, found = SSEParser(), []
    with app.test_client().get(path, buffered=False, **options) as response:
        assert response.status_code == 200, response.data
        for piece in response.iter_encoded():
            found += parser.feed(piece)
            if len(found) > count:
                break
    assert found[0].event == "stream.open"
    return [(frame.event, frame.data) for frame in found[1:]]


@pytest.mark.parametrize("channels", ["a", ["a", "b"], ("a",), {"a"}])
def test_names_are_channels(app: Flask, bridge: Bridge, channels: Any) -> None:
    app.add_url_rule("/events", view_func=lambda: event_stream(channels, start="earliest"))
    bridge.publish("a", 1)
    assert frames(app, "/events", 1) == [("message", "1")]
    assert len(bridge.streams) == 0
    assert not bridge.thread_hub().state.readers()


def test_a_stream_that_was_closed_waits_for_no_garbage_collector(app: Flask, bridge: Bridge) -> None:
    gc.collect()
    gc.disable()
    try:
        with app.test_request_context("/events"):
            response = event_stream("a")
            body = weakref.ref(response.response)
            next(response.response)  # type: ignore[call-overload]
            response.response.close()  # type: ignore[union-attr]
            del response
        wait_for(lambda: body() is None, what="the hub's threads to let go of it")
    finally:
        gc.enable()


def values() -> Iterator[str]:
    yield "one"


async def avalues() -> AsyncIterator[str]:
    yield "one"


@pytest.mark.parametrize("source", [values, avalues])
@pytest.mark.parametrize("call", [True, False])
def test_anything_else_is_a_source(app: Flask, source: Any, call: bool) -> None:
    app.add_url_rule("/events", view_func=lambda: event_stream(source() if call else source))
    seen = frames(app, "/events", 9)
    assert seen[0][0] == "message"
    assert "one" in seen[0][1]
    assert seen[-1][0] == "stream.end"


def test_options_reach_the_stream(app: Flask, bridge: Bridge) -> None:
    for number in range(5):
        bridge.publish("a", number)
    app.add_url_rule("/last", "last", lambda: event_stream("a", last=2))
    app.add_url_rule("/lines", "lines", lambda: event_stream("a", last=2, format="ndjson"))
    assert frames(app, "/last", 2) == [("message", "3"), ("message", "4")]
    assert frames(app, "/last?last=1", 1) == [("message", "4")], "the client's wish wins"
    with app.test_client().get("/lines", buffered=False) as response:
        assert response.content_type.startswith("application/x-ndjson")


def test_hooks_after_the_request_do_not_collect_it(app: Flask) -> None:
    app.add_url_rule("/events", view_func=lambda: event_stream("a"))

    @app.after_request
    def compress(response: Response) -> Response:
        assert response.direct_passthrough, "what compressors and ETag makers look at"
        with pytest.raises(RuntimeError):
            response.get_data()
        response.headers["X-After"] = "yes"
        return response

    with app.test_client().get("/events", buffered=False) as response:
        assert response.headers["X-After"] == "yes"


def test_a_response_that_is_dropped_holds_nothing(app: Flask, bridge: Bridge) -> None:
    with app.test_request_context("/"):
        event_stream("a")
    app.add_url_rule("/events", view_func=lambda: event_stream("a"))
    assert app.test_client().head("/events").status_code == 200
    assert bridge._thread_hub is None


@pytest.mark.parametrize("custom", [True, False])
def test_closing_runs_the_callbacks_once(app: Flask, custom: bool) -> None:
    closed: list[str] = []
    if custom:
        app.response_class = type("Own", (Response,), {})

    def events() -> Response:
        response = event_stream("a")
        response.call_on_close(lambda: closed.append("closed"))
        return response

    app.add_url_rule("/events", view_func=events)
    with app.test_client().get("/events", buffered=False) as response:
        assert closed == []
        response.close()
    assert closed == ["closed"]


def allow(request: Any, channels: tuple[str, ...]) -> bool:
    return bool(channels == ("a",))


async def allow_async(request: Any, channels: tuple[str, ...]) -> bool:
    return allow(request, channels)


def test_hooks_of_both_colours_in_views_of_both_colours(app: Flask) -> None:
    @app.get("/sync/<hook>")
    def sync_view(hook: str) -> Response:
        return event_stream(["a", "a"], authorize={"sync": allow, "async": allow_async}[hook])

    @app.get("/async/<hook>")
    async def async_view(hook: str) -> Response:
        return await aevent_stream(["a", "a"], authorize={"sync": allow, "async": allow_async}[hook])

    @app.get("/wrong/<hook>")
    async def wrong_view(hook: str) -> Response:
        return event_stream("a", authorize={"sync": allow, "async": allow_async}[hook])

    for path in ("/sync/sync", "/sync/async", "/async/sync", "/async/async", "/wrong/sync"):
        assert frames(app, path, 0) == []
    with pytest.raises(AsyncContextError, match="aevent_stream"):
        app.test_client().get("/wrong/async")


def test_refusals(app: Flask) -> None:
    def full(request: Any, channels: tuple[str, ...]) -> bool:
        raise TooManyStreams("three streams are enough", retry_after_seconds=7)

    def away(request: Any, channels: tuple[str, ...]) -> bool:
        raise BackendUnavailable("no answer from 10.0.0.7")

    app.add_url_rule("/away", "away", lambda: event_stream("a", authorize=away))
    app.add_url_rule("/events/<path:channel>", "events", lambda channel: event_stream([channel]))
    app.add_url_rule("/full", "full", lambda: event_stream("a", authorize=full))
    client = app.test_client()
    for path, status in (("/events/a b", 400), ("/events/a?last=-1", 400), ("/events/a?format=xml", 406)):
        answer = client.get(path)
        assert answer.status_code == status
        assert answer.content_type == "application/problem+json"
        assert answer.json is not None
        assert answer.json["status"] == status
    answer = client.get("/full")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    answer = client.get("/away")
    assert answer.status_code == 503
    assert "10.0.0.7" not in answer.text, "what the server knows of its hosts stays there"


def sync_view() -> Response:
    return event_stream("a")


async def async_view() -> Response:
    return event_stream("a")


async def awaiting_view() -> Response:
    return await aevent_stream("a")


@pytest.mark.parametrize("view", [sync_view, async_view, awaiting_view])
def test_the_log_is_asked_before_204(app: Flask, bridge: Bridge, view: Any) -> None:
    app.add_url_rule("/events", view_func=view)
    position = bridge.publish("a", 1)
    id = f"{position}-e"  # of a history whose end was lost
    event: list[tuple[str, str]] = []
    thread = threading.Thread(
        target=lambda: event.extend(frames(app, "/events", 1, headers={"Last-Event-ID": id})), daemon=True
    )
    thread.start()
    wait_for(lambda: len(bridge.streams) == 1)
    bridge.publish("a", 2)
    thread.join(60)
    assert event == [("message", "2")]
    end = bridge.close_channel("a")
    answer = app.test_client().get("/events", headers={"Last-Event-ID": f"{end}".removesuffix("-e") + "-e"})
    assert (answer.status_code, answer.data) == (204, b"")
    assert "Content-Type" not in answer.headers
    wait_for(lambda: bridge.thread_hub().readers() == 0)
    assert len(bridge.streams) == 0


def test_what_is_no_source_is_the_view_s_mistake(app: Flask) -> None:
    app.add_url_rule("/number", view_func=lambda: event_stream(42))  # type: ignore[arg-type]
    app.testing = True
    with pytest.raises(InvalidInput, match="source"):
        app.test_client().get("/number")


@pytest.mark.parametrize("what", ["a", lambda: iter([{"event": "t", "data": {"n": 0}}])], ids=["channel", "source"])
def test_a_view_names_the_format_for_strict_clients(app: Flask, bridge: Bridge, what: Any) -> None:
    options: dict[str, Any] = {"start": "earliest"} if what == "a" else {}
    app.add_url_rule("/events", view_func=lambda: event_stream(what, format="sse-data", type_in_data=True, **options))
    bridge.publish("a", {"n": 0}, type="t")
    headers = {"Accept": "application/json"}
    with app.test_client().get("/events?format=ndjson", buffered=False, headers=headers) as response:
        assert response.content_type == "text/event-stream"
        assert "Accept" not in response.headers.get("Vary", "")
        body = b""
        for piece in response.iter_encoded():
            body += piece
            if b"\n\n" in body:
                break
    assert body.startswith(b":\n")
    assert b'data: {"type":"t","n":0}\n\n' in body
