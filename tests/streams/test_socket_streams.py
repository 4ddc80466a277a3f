"""Streams under gunicorn that the hub writes to: nothing is lost, doubled or written past, whoever ends them and when."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from sse_bridge import Bridge, Event, Where
from sse_bridge.streams import WRITE_KEY, PushMiddleware, StreamRequest, stream_channels
from sse_bridge.streams.writers.socket import SocketWriter
from sse_bridge.wire.sse import SSE
from tests.streams.wsgi_requests import HEADERS, Request, ask, bare_body, bridge, dechunked, numbers
from tests.support.sse_parser import parse
from tests.support.wait import wait_for

__all__ = ["ask", "bridge"]  # fixtures


def test_the_hub_writes_and_the_thread_sleeps(bridge: Bridge, ask: Callable[..., Request]) -> None:
    clients = [ask(buffer=200_000) for _ in range(3)]  # room for all of it: nobody reads meanwhile
    for number in range(200):
        bridge.publish("news", number)
    seen = [client.read_until(b"data: 199\n") for client in clients]
    assert [client.asked for client in clients] == [1, 1, 1], "no thread was asked for a piece after the first"
    bridge.publish("news", "last")
    bridge.close_channel("news")
    for client, before in zip(clients, seen, strict=True):
        data = before + client.rest()
        assert numbers(data) == [*map(str, range(200)), '"last"']
        assert parse(dechunked(data))[-1].event == "stream.end"
        assert data.endswith(b"\r\n0\r\n\r\n"), "the server ends its response itself"
        assert client.response.sent == len(dechunked(data)), "what an access log tells"


def test_a_client_that_reads_slowly_loses_nothing(bridge: Bridge, ask: Callable[..., Request]) -> None:
    slow, quick = ask(buffer=8192), ask(buffer=8192)
    text = "x" * 900
    for number in range(300):
        bridge.publish("news", [number, text])
    quick_seen = quick.read_until(b"data: [299,")
    wait_for(lambda: len(bridge.thread_hub().shared_readers.members()) == 1, what="the slow one to be on its own")
    slow_seen = slow.read_until(b"data: [299,")
    wait_for(lambda: len(bridge.thread_hub().shared_readers.members()) == 2, what="the slow one to come back")
    bridge.publish("news", 300)
    bridge.close_channel("news")
    for client, seen in ((slow, slow_seen), (quick, quick_seen)):
        assert [data.partition(",")[0].strip("[") for data in numbers(seen + client.rest())] == [
            str(number) for number in range(301)
        ]


def test_a_client_that_left_is_noticed_at_the_next_event(bridge: Bridge, ask: Callable[..., Request]) -> None:
    client, other = ask(), ask()
    client.client.close()
    bridge.publish("news", 1)
    client.thread.join(60)
    assert isinstance(client.error, (BrokenPipeError, ConnectionResetError)), "the server meets it where it expects it"
    assert bridge.thread_hub().readers() == 1
    other.read_until(b"data: 1\n")


def test_a_drain_ends_what_the_hub_writes_to(bridge: Bridge, ask: Callable[..., Request]) -> None:
    client = ask()
    bridge.publish("news", 1)
    seen = client.read_until(b"data: 1\n")
    bridge.streams.begin_drain(0.0)
    frames = parse(dechunked(seen + client.rest()))
    assert [(frame.event, frame.data) for frame in frames[1:]] == [
        ("message", "1"),
        ("stream.close", '{"reason":"drain"}'),
    ]


def test_heartbeats_count_from_what_the_hub_wrote() -> None:
    with Bridge("memory://", heartbeat_seconds=1) as bridge:

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            stream = stream_channels(bridge, "news", StreamRequest())
            assert stream.bodies is not None
            start_response("200 OK", HEADERS)
            return bare_body(stream.bodies, environ)

        request = Request(PushMiddleware(app))
        seen = request.read_until(b":\n")
        wait_for(lambda: len(bridge.thread_hub().shared_readers.members()) == 1, what="the hub to write again")
        bridge.publish("news", 1)
        seen = request.read_until(b"data: 1\n", seen)
        request.read_until(b":\n", seen.rpartition(b"data: 1\n")[2])
    request.thread.join(60)
    request.client.close()
    assert not request.thread.is_alive()


@pytest.mark.parametrize("way", ["marking", "one behind", "of the same length", "without code", "not kept", "not bare"])
def test_middleware_that_does_something_to_the_body_sees_all_of_it(
    way: str, bridge: Bridge, ask: Callable[..., Request]
) -> None:
    class Marking:
        def __init__(self, body: Any) -> None:
            self.body, self.close = body, body.close

        def __iter__(self) -> Iterator[bytes]:
            return (b"%b:\n\n" % piece for piece in self.body)

    class Behind(Marking):
        def __iter__(self) -> Iterator[bytes]:
            yield b":"
            yield from self.body

    class Redacting(Marking):
        """Leaves the first frames as they are, so their number of bytes says nothing."""

        def __iter__(self) -> Iterator[bytes]:
            return (piece.replace(b"data: 1", b"data: *") for piece in self.body)

    class Mapping(map):  # type: ignore[type-arg]
        """The same, without a frame between the body and the server."""

        def __new__(cls, body: Any) -> Any:
            self = super().__new__(cls, lambda piece: piece.replace(b"data: 1", b"data: *"), body)
            self.close = body.close
            return self

    def wrap(app: Any) -> Any:
        def touched(environ: dict[str, Any], start_response: Any) -> Any:
            body = app(environ, start_response)
            environ[WRITE_KEY].body_is_outermost = 0
            return body

        if way == "not kept":
            return app
        if way == "not bare":
            return PushMiddleware(touched)
        below = PushMiddleware(app)
        kind = {"marking": Marking, "one behind": Behind, "of the same length": Redacting, "without code": Mapping}[way]
        return lambda environ, start_response: kind(below(environ, start_response))

    client = ask(wrap, alone=True)
    seen = client.read_until(b"stream.open")
    shown = b"*" if way in ("of the same length", "without code") else b"1"
    for _ in range(2):
        bridge.publish("news", 1)
        seen = client.read_until(b"data: %b\n" % shown, client.read_until(b"id: ", seen[-1:]))
        assert not bridge.thread_hub().shared_readers.members()
    bridge.close_channel("news")
    assert b"data: 1\n" not in client.rest()
    assert client.asked > 2


def test_a_pass_that_fails_ends_its_readers_so_that_they_come_back(
    bridge: Bridge, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = ask()
    seen = client.read_until(b"stream.open")

    def fails(*arguments: Any, **options: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch, caplog.at_level("CRITICAL", "sse_bridge.hub"):
        patch.setattr(SSE, "body", fails)
        bridge.publish("news", 1)
        seen += client.rest()
    assert numbers(seen) == [], "the client resumes before it"
    assert seen.endswith(b"0\r\n\r\n")


def test_no_byte_follows_the_end_of_a_response_that_another_thread_closes(
    bridge: Bridge, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's own thread must not end the response while a pass may still write to it."""
    begun, go_on = threading.Event(), threading.Event()
    client = ask()
    seen = client.read_until(b"stream.open")
    [reader] = bridge.thread_hub().shared_readers.members()
    push = SocketWriter.push

    def slow(self: SocketWriter, data: bytes) -> bool:
        begun.set()
        assert go_on.wait(10)
        return push(self, data)

    monkeypatch.setattr(SocketWriter, "push", slow)
    publisher = threading.Thread(target=bridge.publish, args=("news", 1), daemon=True)
    publisher.start()
    assert begun.wait(60)
    closer = threading.Thread(target=reader.close, daemon=True)
    closer.start()
    with contextlib.suppress(AssertionError):  # as it should not be while the pass goes on
        wait_for(lambda: reader.closed, 0.2)
    reader.wake()  # its thread looks about, and would end the response now
    with contextlib.suppress(AssertionError):
        wait_for(lambda: not client.thread.is_alive(), 0.2)
    go_on.set()
    publisher.join(60)
    closer.join(60)
    seen += client.rest()
    assert seen.endswith(b"0\r\n\r\n"), seen
    assert numbers(seen) == ["1"]


def test_a_push_that_fails_leaves_no_hole_for_the_others(
    bridge: Bridge, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clients = [ask() for _ in range(3)]
    failing = iter([False, True])
    push = SocketWriter.push

    def fails(self: SocketWriter, data: bytes) -> bool:
        if next(failing, False):
            raise MemoryError
        return push(self, data)

    with caplog.at_level("CRITICAL", "sse_bridge.hub"):
        monkeypatch.setattr(SocketWriter, "push", fails)
        bridge.publish("news", 1)
        bridge.publish("news", 2)
        seen = [numbers(client.rest()) for client in clients]
    assert sorted(seen) in ([[], [], ["1"]], [[], [], ["1", "2"]]), "who did not get the first got none, and comes back"


def test_what_a_predicate_raises_is_logged_under_no_lock(bridge: Bridge) -> None:
    """Logs may be streamed too, by a handler that publishes."""

    class Publishing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            bridge.publish("log", record.getMessage())

    def broken(event: Event) -> bool:
        raise ZeroDivisionError

    handler, logger = Publishing(), logging.getLogger("sse_bridge.filters")
    logger.addHandler(handler)
    try:
        with bridge.subscribe("log") as log, bridge.subscribe("news", filter=Where(broken)) as news:
            log.wait_ready(60)
            news.wait_ready(60)
            bridge.publish("news", 1)
            assert news.next(0.1) is None
            told = log.next(60)
            assert told is not None
            assert "predicate" in told.data
    finally:
        logger.removeHandler(handler)


def test_a_forked_child_writes_to_no_socket_of_its_parent(
    bridge: Bridge, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ask()
    client.read_until(b"stream.open")
    hub = bridge.thread_hub()
    with monkeypatch.context() as patch:
        patch.setattr(hub, "_forks", hub._forks - 1)  # what a child sees of the hub that it inherited
        bridge.publish("news", 1)
        if bridge.backend.name == "redis":  # whose news come on another thread
            wait_for(lambda: {feed.channel for feed in list(hub.state._touched)} == {"news"}, what="the news")
        client.client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.client.recv(1)
    client.client.settimeout(60)
    bridge.publish("news", 2)
    assert b"data: 1\n" in client.read_until(b"data: 2\n")
