"""What users get for their own tests, over both backends and colours, and every example of docs/testing.md."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import starlette
from flask import Flask, Response

import sse_bridge
from sse_bridge import Bridge, apublish, get_bridge, publish
from sse_bridge.errors import ChannelClosed
from sse_bridge.testing import (
    BrokenStream,
    Recorder,
    ServerSentEvent,
    aread_stream,
    asgi_stream,
    memory_bridge,
    parse_sse,
    read_stream,
    record,
)
from sse_bridge_asgi import EventStreamApp
from sse_bridge_flask import SSEBridge, event_stream
from tests.bridge import conftest as bridge_fixtures
from tests.bridge.both import Both
from tests.support.process import ROOT
from tests.support.wait import wait_for

both = bridge_fixtures.both

# Starlette 1.9 is the first whose TestClient returns before the app has.
STREAMING_TEST_CLIENT = tuple(map(int, starlette.__version__.split(".")[:2])) >= (1, 9)

BLOCKS = dict(
    re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", (ROOT / "docs/testing.md").read_text(), re.DOTALL)
)


def test_a_recorder_sees_what_readers_see(both: Both) -> None:
    with record(both.bridge) as published:
        position = both.publish("a", {"x": 1}, type="t")
        both.publish("a", 2, visibility="internal_only")
        both.publish("a", 3, store=False)
        results = both.publish_many([("a", 4), ("b", 5), ("a", 6)])
        both.close_channel("a")
    both.publish("b", 7)
    stored = [event for event in published.on("a") if event.position is not None]
    history = both.history("a")
    seen = [(event.type, event.data, event.visibility, event.position, event.id) for event in stored]
    assert seen == [(event.type, event.data, event.visibility, event.position, event.id) for event in history]
    assert (stored[0].position, stored[2].position) == (position, results[0])
    (live,) = [event for event in published.events if event.position is None]
    assert (live.channel, live.data, live.id) == ("a", 3, None)
    assert [event.data for event in published.on("b")] == [5]
    published.clear()
    assert published.events == []


def test_what_was_not_published_is_not_recorded(both: Both) -> None:
    both.close_channel("gone")
    with record(both.bridge) as published:
        with pytest.raises(ChannelClosed):
            both.publish("gone", 1)
        both.publish_many([("gone", 1), ("a", 1)])
        both.publish("a", 2, idempotency_key="k")
        both.publish("a", 2, idempotency_key="k")
    assert [event.data for event in published.events] == [1, 2]


def test_recorders_nest_and_leave_the_bridge_as_it_was() -> None:
    with Bridge() as bridge:
        with record(bridge) as outer:
            bridge.publish("a", 1)
            with record(bridge) as inner:
                bridge.publish("a", 2)
        assert bridge.appends is bridge.backend
        assert [len(outer.events), len(inner.events)] == [2, 1]


def test_what_other_threads_publish_is_waited_for() -> None:
    with memory_bridge(), record() as published:
        go = threading.Event()
        thread = threading.Thread(target=lambda: (go.wait(), publish("a", 1)))
        thread.start()
        with pytest.raises(AssertionError, match=r"expected 1 published events within 0.01 s, got 0"):
            published.expect(1, timeout=0.01)
        go.set()
        assert [event.data for event in published.expect(1, timeout=60)] == [1]
        thread.join()


async def test_the_async_twin_waits_too() -> None:
    with memory_bridge(), record() as published:
        await apublish("a", 1)
        assert isinstance(published, Recorder)
        assert len(await published.aexpect(1, timeout=60)) == 1


def test_the_default_bridge_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_BRIDGE_URL", "redis://127.0.0.1:1")  # of the project, not of its tests
    with memory_bridge(max_channels=3) as outer:
        with pytest.raises(ZeroDivisionError), memory_bridge() as inner:
            assert get_bridge() is inner
            assert inner.backend.name == "memory"
            sse_bridge.configure(None)  # the code under test
            raise ZeroDivisionError
        assert inner.closed
        assert get_bridge() is outer
        assert outer.settings.max_channels == 3


def test_a_stream_is_parsed_in_any_pieces() -> None:
    body = b': hi\nretry: 5\nevent: e\nid: 1\ndata: {"a":\ndata: 1}\n\ndata: x\n\n'
    first, second = parse_sse(body)
    assert first == ServerSentEvent("1", "e", '{"a":\n1}', 5, True)
    assert first.json() == {"a": 1}
    assert second == ServerSentEvent("1", "message", "x", None, False)
    assert parse_sse(body[i : i + 1] for i in range(len(body))) == [first, second]
    with pytest.raises(BrokenStream, match="frame boundary"):
        parse_sse(b"data: x\n")
    with pytest.raises(BrokenStream, match="UTF-8"):
        parse_sse(b"data: \xff\n\n")


class Endless:
    """A body that says one thing and then waits until it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield b"data: 1\n\n"
        self.closed.wait()

    def close(self) -> None:
        self.closed.set()


def test_silence_is_an_error_that_says_what_came() -> None:
    body = Endless()
    with read_stream(body, timeout=60) as stream:
        assert stream.next().data == "1"
        stream.timeout = 0.2
        with pytest.raises(BrokenStream, match=r"within 0.2 s; before that came .*data='1'"):
            stream.next()
        stream.timeout = 10
    assert body.closed.is_set()


def test_a_body_that_holds_its_thread_is_told() -> None:
    go = threading.Event()

    def view() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        go.wait()
        yield b"data: 2\n\n"

    body = view()
    stream = read_stream(body, timeout=60)
    assert stream.next().data == "1"
    stream.timeout = 0.2
    with pytest.raises(BrokenStream, match=r"still runs after 0.2 s"):
        stream.close()
    go.set()
    stream.timeout = 10
    stream.close()
    body.close()


@pytest.mark.parametrize("channels", [True, False])
def test_everything_is_given_back_to_a_flask_app(channels: bool) -> None:
    app = Flask(__name__)
    SSEBridge(app, default=False)
    bridge: Bridge = app.extensions["sse_bridge"]

    def source() -> Iterator[str]:
        yield "one"
        threading.Event().wait(0.05)
        yield "two"

    app.add_url_rule("/", "events", lambda: event_stream("a" if channels else source()))
    with read_stream(app.test_client().get("/"), timeout=60) as stream:
        assert stream.next().event == "stream.open"
        assert len(bridge.streams) == 1
    wait_for(lambda: len(bridge.streams) == 0)
    wait_for(lambda: not any(thread.name == "sse_bridge-test-stream" for thread in threading.enumerate()))


if STREAMING_TEST_CLIENT:

    @pytest.mark.filterwarnings("ignore:Using .httpx. with")
    def test_starlettes_own_client_streams_where_it_can() -> None:
        from starlette.testclient import TestClient

        with memory_bridge() as bridge:
            app = EventStreamApp(channels=["a"])
            with TestClient(app).stream("GET", "/") as response, read_stream(response, timeout=60) as stream:
                assert stream.next().event == "stream.open"
                bridge.publish("a", 1)
                assert stream.next().json() == 1


def test_an_end_is_an_end() -> None:
    with read_stream(iter([b"data: 1\n", b"\ndata: 2\n\n"])) as stream:
        assert [event.data for event in stream.rest()] == ["1", "2"]
        assert stream.rest() == []
        with pytest.raises(BrokenStream, match="the stream ended after"):
            stream.next()


def test_an_error_of_the_body_is_the_readers() -> None:
    def body() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        raise ZeroDivisionError

    with read_stream(body()) as stream:
        assert stream.next().data == "1"
        with pytest.raises(ZeroDivisionError):
            stream.next()


def test_a_refusal_is_no_stream() -> None:
    app = Flask(__name__)
    app.add_url_rule("/", "no", lambda: Response("not yours", 403))
    with pytest.raises(BrokenStream, match="status 403 b'not yours'"):
        read_stream(app.test_client().get("/"))


async def test_async_bodies_are_read_alike() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        yield b"data: 2\n\ndata: 3\n\n"

    async with aread_stream(body()) as stream:
        assert [event.data for event in await stream.take(2)] == ["1", "2"]
        assert [event.data for event in await stream.rest()] == ["3"]
        with pytest.raises(BrokenStream, match="the stream ended after"):
            await stream.next()


async def test_an_asgi_app_streams_and_hears_of_the_end() -> None:
    with memory_bridge() as bridge:
        app = EventStreamApp(authorize=lambda scope, channels: True)
        async with asgi_stream(app, "/?channel=a%3A1", headers={"Accept": "text/event-stream"}, timeout=60) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert (await stream.next()).event == "stream.open"
            position = await apublish("a:1", "x")
            event = await stream.next()
            assert (event.json(), event.id) == ("x", str(position))
            assert len(bridge.streams) == 1
        assert len(bridge.streams) == 0


async def test_a_client_keeps_the_id_that_it_came_with_until_a_frame_brings_another() -> None:
    with memory_bridge():
        app = EventStreamApp(authorize=lambda scope, channels: True)
        await apublish("a", 1)
        await apublish("b", 1)
        async with asgi_stream(app, "/?channel=a&channel=b", headers={"Last-Event-ID": "garbage"}) as stream:
            ids = [event.id for event in await stream.take(3)]
        assert ids[:2] == ["garbage", "garbage"]  # the open frame, and the first of two gaps
        async with asgi_stream(app, "/?channel=a&channel=b", headers={"last-event-id": ids[2]}) as stream:
            assert (await stream.next()).event == "stream.open"
            await apublish("b", 2)
            assert (await stream.next()).json() == 2


def test_a_test_client_keeps_the_id_that_it_came_with() -> None:
    with memory_bridge() as bridge:
        bridge.publish("news", 1)
        app = Flask(__name__)
        SSEBridge(app, bridge=bridge, default=False)
        app.add_url_rule("/", "events", lambda: event_stream("news"))
        response = app.test_client().get("/", headers={"Last-Event-ID": "garbage"})
        with read_stream(response) as stream:
            assert stream.next().id == "garbage"
            assert stream.next().id != "garbage"  # the gap's


Send = Callable[[dict[str, Any]], Awaitable[None]]


async def test_what_goes_wrong_in_an_asgi_app_is_told() -> None:
    async def start(send: Send, status: int = 200) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def fails(scope: Any, receive: Any, send: Send) -> None:
        await start(send)
        raise ZeroDivisionError

    async def refuses(scope: Any, receive: Any, send: Send) -> None:
        await start(send, 429)

    async def says_nothing(scope: Any, receive: Any, send: Send) -> None:
        await receive()
        await receive()

    async def stays(scope: Any, receive: Any, send: Send) -> None:
        await start(send)
        await says_nothing(scope, receive, send)
        await says_nothing(scope, receive, send)
        await forever.wait()

    forever = asyncio.Event()
    with pytest.raises(ZeroDivisionError):
        async with asgi_stream(fails, "/") as stream:
            await stream.next()
    with pytest.raises(ZeroDivisionError):
        async with asgi_stream(fails, "/"):
            pass
    with pytest.raises(BrokenStream, match="status 429"):
        async with asgi_stream(refuses, "/"):
            pass
    with pytest.raises(BrokenStream, match=r"to answer within 0.1 s"):
        async with asgi_stream(says_nothing, "/", timeout=0.1):
            pass
    with pytest.raises(BrokenStream, match=r"to return within 1 s after its client left"):
        async with asgi_stream(stays, "/", timeout=1):
            pass


SITE = """
from django.conf import settings
settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="test_site", INSTALLED_APPS=["sse_bridge_django"])
import django
django.setup()
from django.urls import path
from sse_bridge_django import event_stream
urlpatterns = [path("orders/<int:number>/events/", lambda request, number: event_stream(request, f"orders:{number}"))]
"""


@pytest.mark.parametrize("kind", list(BLOCKS))
def test_the_documented_examples_pass_as_tests(tmp_path: Path, kind: str) -> None:
    before = SITE if kind == "django" else ""
    (tmp_path / "test_site.py").write_text(before + BLOCKS[kind])
    paths = os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "integrations")])
    command = [
        *(sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), "-o", "asyncio_mode=auto"),
        *("-o", "asyncio_default_fixture_loop_scope=function", "-p", "no:anyio", "-p", "no:valkey"),
        *("-p", "no:cacheprovider", "-W", "error"),
        "test_site.py",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{BLOCKS[kind].count('def test_')} passed" in done.stdout


def test_every_block_is_a_test_here() -> None:
    assert set(BLOCKS) == {"record", "django", "flask", "starlette"}
    assert (ROOT / "docs/testing.md").read_text().count("```python") == len(BLOCKS)
