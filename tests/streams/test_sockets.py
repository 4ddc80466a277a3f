"""Writing past a WSGI server's `write`: only where a probe shows what it does, and with the same bytes."""

from __future__ import annotations

import socket
import types
from typing import Any

import pytest
from gunicorn.http.wsgi import Response
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.streams.writers.socket import ServerWrite, SocketWriter
from sse_bridge.streams.writers.transport import chunk
from tests.streams.wsgi_requests import HEADERS, response_on


@pytest.mark.parametrize("version", [(1, 1), (1, 0)])
def test_it_writes_what_the_server_would_write(version: tuple[int, int]) -> None:
    client, sock = socket.socketpair()
    with client, sock:
        response = response_on(sock, version)
        server = ServerWrite()
        given: list[bytes] = []  # what the server would iterate over
        server.body_is_outermost = id(given)
        server.write = response.start_response("200 OK", HEADERS)
        assert SocketWriter.of(server, 0, list) is None, "before the head is sent"
        server.write(b"first")
        client.recv(65536)
        client.settimeout(60)
        writer = SocketWriter.of(server, 5, list)
        assert writer is not None
        for data in (b"x", b"data: 1\n\n", b"\r\n" * 40, b"y" * 5000):
            server.write(data)
            sent, counted = client.recv(65536), response.sent
            assert writer.push(data)
            got = client.recv(65536)
            assert (got.lower(), response.sent - counted) == (sent.lower(), len(data))
        response.close()
        sock.shutdown(socket.SHUT_WR)
        assert client.recv(100) == (b"0\r\n\r\n" if version == (1, 1) else b"")


def test_what_it_does_not_know_is_left_to_the_server() -> None:
    class Counting(Response):  # type: ignore[misc]
        calls = 0

        def write(self, data: bytes) -> None:
            self.calls += 1
            super().write(data)

    class Elsewhere(Response):  # type: ignore[misc]
        """As for HTTP/2: the socket is another connection's matter."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.connection: list[bytes] = []

        def write(self, data: bytes) -> None:
            self.headers_sent = True
            self.sent += len(data)
            self.connection.append(data)

    class Sealed(socket.socket):
        """As for TLS: what is written is not what is sent."""

    client, sock = socket.socketpair()
    sealed = Sealed(fileno=sock.dup().detach())
    with client, sock, sealed:
        for kind, options in (
            (Counting, {}),
            (Elsewhere, {}),
            (Response, {"sock": sealed}),
        ):
            response = response_on(**{"sock": sock, "kind": kind, **options})
            server = ServerWrite()
            given: list[bytes] = []
            server.body_is_outermost = id(given)
            server.write = response.start_response("200 OK", HEADERS)
            server.write(b"first")
            if kind is not Elsewhere:
                client.recv(65536)
            before = dict(vars(response))
            assert SocketWriter.of(server, response.sent, list) is None, (kind, options)
            assert vars(response) == before
            assert getattr(response, "connection", [b"first"]) == [b"first"]
        for write in (None, print, [].append, response.write):
            server.write = write
            assert SocketWriter.of(server, 0, list) is None
        response = response_on(sock)
        server.write = response.start_response("200 OK", [("Content-Length", "1000")])
        server.write(b"first")
        client.recv(65536)
        assert SocketWriter.of(server, 5, list) is None, "the server counts down to its end"
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)  # no probe reached the client


def test_of_a_head_request_it_writes_what_the_server_would() -> None:
    """Nothing, but for an old gunicorn, which leaves that to the application."""
    client, sock = socket.socketpair()
    with client, sock:
        response = response_on(sock, method="HEAD")
        server = ServerWrite()
        given: list[bytes] = []
        server.body_is_outermost = id(given)
        server.write = response.start_response("200 OK", HEADERS)
        server.write(b"first")
        body = client.recv(65536).partition(b"\r\n\r\n")[2]
        assert (SocketWriter.of(server, response.sent, list) is None) == (body == b"")


@given(data=st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=20), takes=st.data())
def test_whatever_the_socket_takes_the_client_gets_all(data: list[bytes], takes: st.DataObject) -> None:
    out: list[bytes] = []

    class Narrow:
        """Takes a part, nothing, or fails."""

        def send(self, framed: bytes, flags: int) -> int:
            part = takes.draw(st.integers(-1, len(framed)))
            if part < 0:
                raise BlockingIOError
            out.append(framed[:part])
            return part

        def sendall(self, rest: bytes) -> None:
            out.append(rest)

    full: list[bool] = []
    response = types.SimpleNamespace(sock=Narrow(), sent=0)
    writer = SocketWriter(response, response.sock.send, chunk, lambda: full.append(True))
    for piece in data:
        if not writer.push(piece):
            assert full.pop(), "the client's thread must hear of it"
            writer.complete()
    assert b"".join(out) == b"".join(chunk(piece) for piece in data)
    assert response.sent == sum(map(len, data))
