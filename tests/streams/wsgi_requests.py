"""gunicorn's part of a request on a real pair of sockets, for streams that the hub writes to."""

from __future__ import annotations

import os
import socket
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.wsgi import Response

from sse_bridge import Bridge
from sse_bridge.streams import WRITE_KEY, PushMiddleware, StreamRequest, stream_channels
from tests.support.sse_parser import parse
from tests.support.wait import wait_for

HEADERS = [("Content-Type", "text/event-stream")]


def response_on(
    sock: socket.socket, version: tuple[int, int] = (1, 1), method: str = "GET", kind: Any = Response
) -> Any:
    return kind(types.SimpleNamespace(version=version, method=method, should_close=lambda: True), sock, Config())


def bare_body(bodies: Any, environ: dict[str, Any]) -> Any:
    """The body as an adapter hands it over, which says that nothing is around it."""
    server = environ.get(WRITE_KEY)
    body = bodies.sync_body(server)
    if server is not None:
        server.body_is_outermost = id(body)
    return body


class Request:
    """gunicorn's part of one request, on a thread of its own and a real pair of sockets."""

    def __init__(self, app: Callable[..., Iterable[bytes]], buffer: int | None = None) -> None:
        self.client, sock = socket.socketpair()
        self.client.settimeout(60)
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.response = response_on(sock)
        self.asked = 0
        self.error: BaseException | None = None
        self._app = app
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        response = self.response
        body = self._app({}, response.start_response)
        try:
            for item in body:
                self.asked += 1
                response.write(item)
            response.close()
        except OSError as error:
            self.error = error
        finally:
            body.close()  # type: ignore[attr-defined]
            self.response.sock.close()

    def read_until(self, what: bytes, seen: bytes = b"") -> bytes:
        while what not in seen:
            data = self.client.recv(65536)
            assert data, seen
            seen += data
        return seen

    def rest(self) -> bytes:
        return b"".join(iter(lambda: self.client.recv(65536), b""))


@pytest.fixture(params=["memory", "redis"])
def bridge(request: pytest.FixtureRequest) -> Iterator[Bridge]:
    url = "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")
    with Bridge(url, prefix=f"sockets{os.urandom(4).hex()}", heartbeat_seconds=60, drain_seconds=0.2) as bridge:
        hub = bridge.thread_hub()
        yield bridge
        wait_for(lambda: hub.readers() == 0, what="readers to leave")


@pytest.fixture
def ask(bridge: Bridge) -> Iterator[Callable[..., Request]]:
    """Opens a stream of the channel ``news``, and waits until the hub writes to it (or `alone`)."""
    requests: list[Request] = []

    def ask(wrap: Callable[[Any], Any] = PushMiddleware, *, alone: bool = False, **options: Any) -> Request:
        before = len(bridge.thread_hub().shared_readers.members())

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            stream = stream_channels(bridge, "news", StreamRequest(), format=None)
            assert stream.bodies is not None
            start_response("200 OK", HEADERS)
            return bare_body(stream.bodies, environ)

        requests.append(Request(wrap(app), **options))
        if not alone:
            wait_for(lambda: len(bridge.thread_hub().shared_readers.members()) == before + 1, what="the hub to write")
        return requests[-1]

    yield ask
    bridge.close()
    for one in requests:
        one.client.close()
        one.thread.join(60)
        assert not one.thread.is_alive()


def dechunked(data: bytes) -> bytes:
    pieces, data = [], data.partition(b"\r\n\r\n")[2]
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        assert length or data == b"\r\n", "nothing may follow the last chunk"
        pieces.append(data[:length])
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
    return b"".join(pieces)


def numbers(data: bytes) -> list[str]:
    return [frame.data for frame in parse(dechunked(data)) if frame.event == "message"]
