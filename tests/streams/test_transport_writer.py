"""Writing past a `send`: only where a probe shows that it frames and writes, and with the same bytes."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from sse_bridge import Bridge
from sse_bridge.streams.writers.transport import TransportWriter, chunk
from sse_bridge_asgi import EventStreamApp
from tests.support.sse_parser import parse
from tests.support.wait import await_for

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:  # httptools is not installed
    PROTOCOLS: list[Any] = [H11Protocol]
else:
    PROTOCOLS = [H11Protocol, HttpToolsProtocol]

BODY = {"type": "http.response.body", "more_body": True}


class Transport:
    """What uvicorn's protocols ask of one."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.error: Exception | None = None
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Connection:
    """One request, up to the server's own `send`."""

    def __init__(self, protocol: Any, app: Any, method: str = "GET", accept: str = "*/*") -> None:
        config = Config(app=app, log_config=None, ws="none")
        config.load()
        self.transport = Transport()
        self.protocol = protocol(config=config, server_state=ServerState(), app_state={})
        self.protocol.connection_made(self.transport)
        self.protocol.data_received(f"{method} /?channel=news HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
        self.cycle = self.protocol.cycle

    def take(self) -> bytes:
        taken = b"".join(self.transport.written)
        self.transport.written.clear()
        return taken

    async def leave(self) -> None:
        self.protocol.connection_lost(None)
        await asyncio.gather(*self.protocol.tasks, return_exceptions=True)


@pytest.fixture(params=PROTOCOLS, ids=lambda protocol: protocol.__module__.rpartition(".")[2])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Connection]]:
    """Opens connections to an app; they leave at the end."""
    connections: list[Connection] = []

    def connect(app: Any, method: str = "GET", accept: str = "*/*") -> Connection:
        connections.append(Connection(request.param, app, method, accept))
        return connections[-1]

    yield connect
    for connection in connections:
        await connection.leave()


async def _started(
    connect: Callable[..., Connection], method: str = "GET", *headers: tuple[bytes, bytes]
) -> Connection:
    """A connection whose app has sent the head and waits."""
    started = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        started.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    connection = connect(app, method)
    await asyncio.wait_for(started.wait(), 60)
    connection.take()
    return connection


@given(data=st.binary(min_size=1, max_size=5000))
def test_a_chunk_says_its_length(data: bytes) -> None:
    size, _, rest = chunk(data).partition(b"\r\n")
    assert (int(size, 16), rest) == (len(data), data + b"\r\n")
    assert chunk(data) is chunk(data)


async def test_it_writes_what_send_would_write(connect: Callable[..., Connection]) -> None:
    connection = await _started(connect)
    writer = TransportWriter.of(connection.cycle.send)
    assert writer is not None
    assert connection.take() == b"", "the probe reached the client"
    for data in (b"x", b"data: 1\n\n", b"\r\n" * 40, b"y" * 70_000):
        await connection.cycle.send({**BODY, "body": data})
        sent = connection.take()
        assert writer.write(data)
        assert connection.take() == sent
    await connection.cycle.send({"type": "http.response.body", "body": b"", "more_body": False})
    assert connection.take() == b"0\r\n\r\n", "the server's own state is as if it had sent everything itself"
    assert not writer.write(b"x"), "the response is over"


async def test_nothing_to_write_ends_no_response(
    connect: Callable[..., Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk of no bytes is the last one; and text has heartbeats of none."""
    seen: list[bytes] = []
    write = TransportWriter.write

    def spy(self: TransportWriter, data: bytes) -> bool:
        seen.append(data)
        return write(self, data)

    monkeypatch.setattr(TransportWriter, "write", spy)
    async with Bridge("memory://", heartbeat_seconds=1) as bridge:
        connection = connect(EventStreamApp(bridge, authorize=lambda scope, channels: True), accept="text/plain")
        await await_for(lambda: b"\r\n\r\n" in b"".join(connection.transport.written))
        await await_for(lambda: b"" in seen)
        await bridge.apublish("news", "after it")
        await await_for(lambda: b"after it" in b"".join(connection.transport.written))
        assert _dechunked(connection.take().partition(b"\r\n\r\n")[2]) == b"after it"


async def test_what_needs_a_decision_is_left_to_send(connect: Callable[..., Connection]) -> None:
    connection = await _started(connect)
    writer = TransportWriter.of(connection.cycle.send)
    assert writer is not None
    connection.protocol.pause_writing()
    assert not writer.write(b"x")
    connection.protocol.resume_writing()
    assert writer.write(b"x")
    connection.take()
    connection.transport.error = RuntimeError("the handler is closed")
    assert not writer.write(b"x"), "send raises it in the request's task"
    connection.transport.error = None
    connection.protocol.connection_lost(None)
    assert not writer.write(b"x")
    assert connection.take() == b""


async def test_no_writer_before_the_head(connect: Callable[..., Connection]) -> None:
    begun = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await receive()
        await receive()

    connection = connect(app)
    await asyncio.wait_for(begun.wait(), 60)
    assert TransportWriter.of(connection.cycle.send) is None
    assert connection.take() == b""


@pytest.mark.parametrize(("method", "headers"), [("HEAD", ()), ("GET", ((b"content-length", b"1000"),))])
async def test_only_chunked_bodies(connect: Callable[..., Connection], method: str, headers: Any) -> None:
    connection = await _started(connect, method, *headers)
    assert TransportWriter.of(connection.cycle.send) is None
    assert connection.take() == b""


async def test_a_wrapped_or_changed_send_is_called(connect: Callable[..., Connection]) -> None:
    connection = await _started(connect)
    cycle = connection.cycle

    async def wrapped(message: Any) -> None:
        await cycle.send(message)

    async def twice(self: Any, message: Any) -> None:
        self.transport.write(chunk(message["body"]))
        self.transport.write(b"and more")

    async def counting(self: Any, message: Any) -> None:
        await type(cycle).send(self, message)
        self.sent = getattr(self, "sent", 0) + 1

    async def impatient(self: Any, message: Any) -> None:
        self.transport.write(chunk(message["body"]))

    async def later(self: Any, message: Any) -> None:
        await asyncio.sleep(0)
        await type(cycle).send(self, message)

    assert TransportWriter.of(wrapped) is None
    assert TransportWriter.of([].append) is None
    for function in (twice, counting, impatient, later):
        assert TransportWriter.of(types.MethodType(function, cycle)) is None
    assert not hasattr(cycle, "sent")
    assert connection.take() == b""


async def test_another_framing_on_the_same_server_is_probed_by_itself(connect: Callable[..., Connection]) -> None:
    """Its flags may look alike: h11 keeps the framing inside of its connection."""
    for _ in range(2):
        assert TransportWriter.of((await _started(connect)).cycle.send) is not None
    for method, headers in (("HEAD", ()), ("GET", ((b"content-length", b"1000"),))):
        assert TransportWriter.of((await _started(connect, method, *headers)).cycle.send) is None
    assert TransportWriter.of((await _started(connect)).cycle.send) is not None


async def test_nothing_else_is_probed() -> None:
    class Other:
        calls: list[Any] = []  # noqa: RUF012

        async def send(self, message: Any) -> None:
            self.calls.append(message)

    assert TransportWriter.of(Other().send) is None
    assert Other.calls == []


async def test_a_stream_loses_nothing_when_the_transport_fills_up(
    connect: Callable[..., Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []
    write = TransportWriter.write

    def seen(self: TransportWriter, data: bytes) -> bool:
        taken.append(write(self, data))
        return taken[-1]

    monkeypatch.setattr(TransportWriter, "write", seen)
    async with Bridge("memory://") as bridge:
        connection = connect(EventStreamApp(bridge, authorize=lambda scope, channels: True))
        transport = connection.transport
        await await_for(lambda: b"stream.open" in b"".join(transport.written))
        for number in range(30):
            if number % 10 == 3:
                connection.protocol.pause_writing()
            elif number % 10 == 7:
                connection.protocol.resume_writing()
            await bridge.apublish("news", number)
            if 3 <= number % 10 < 7:
                await await_for(lambda: taken[-1] is False)
            else:
                await await_for(lambda last=b"data: %d\n" % number: last in b"".join(transport.written))  # type: ignore[misc]
        frames = parse(_dechunked(connection.take().partition(b"\r\n\r\n")[2]))
    assert [frame.data for frame in frames if frame.event == "message"] == [str(number) for number in range(30)]
    assert (True in taken, False in taken) == (True, True), "both ways were gone"


async def test_the_connection_of_a_client_that_takes_nothing_is_dropped(connect: Callable[..., Connection]) -> None:
    async with Bridge("memory://") as bridge:
        connection = connect(EventStreamApp(bridge, authorize=lambda scope, channels: True))
        await await_for(lambda: b"stream.open" in b"".join(connection.transport.written))
        connection.protocol.pause_writing()
        bridge.streams.begin_drain(0.0)
        await await_for(lambda: connection.transport.aborted)
        await await_for(lambda: not connection.protocol.tasks)


def _dechunked(data: bytes) -> bytes:
    pieces = []
    while data:
        size, _, data = data.partition(b"\r\n")
        assert int(size, 16), "the response has ended"
        pieces.append(data[: int(size, 16)])
        assert data[int(size, 16) : int(size, 16) + 2] == b"\r\n"
        data = data[int(size, 16) + 2 :]
    return b"".join(pieces)
