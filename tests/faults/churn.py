"""Clients that come and go: one asyncio client, thousands of short visits, each ending in the middle of something."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tests.support.wait import await_for

AT_ONCE: Final = 20
PATIENCE_SECONDS: Final = 60.0
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST, as a network that went away

Visit = Callable[["Client"], Coroutine[Any, Any, None]]


class Client:
    """One connection.

    Args:
        port: the server's.
        request: its first line and headers, without the empty line.
    """

    def __init__(self, port: int, request: bytes) -> None:
        self.request = request
        self._port = port
        self._socket = socket.socket()
        self._socket.setblocking(False)

    async def connect(self, *, receive_buffer: int | None = None) -> None:
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(self._socket, ("127.0.0.1", self._port))

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def read_until(self, wanted: bytes) -> None:
        """Reads up to some bytes."""
        got = b""
        while wanted not in got:
            data = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
            assert data, f"the server ended the connection before {wanted!r}: {got[-500:]!r}"
            got += data

    def unread(self) -> int:
        """Bytes that wait in the socket's buffer."""
        answer = fcntl.ioctl(self._socket, termios.FIONREAD, b"\0\0\0\0")
        return int(struct.unpack("i", answer)[0])

    def leave(self, *, reset: bool) -> None:
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.close()


async def idle(client: Client) -> None:
    """Leaves when the stream is open and nothing happens."""
    await client.connect()
    await client.send(client.request + b"\r\n\r\n")
    await client.read_until(b"stream.open")


async def blocked(client: Client) -> None:
    """Leaves while the server waits for it to take what is there: megabytes, into a buffer of 4 kB."""
    await client.connect(receive_buffer=4096)
    await client.send(client.request + b"\r\n\r\n")
    await await_for(lambda: client.unread() > 1000, PATIENCE_SECONDS, what="the first bytes of a long replay")


async def half_a_line(client: Client) -> None:
    """Leaves inside the first line of its request."""
    await client.connect()
    await client.send(client.request[:9])


async def half_a_head(client: Client) -> None:
    """Leaves inside the headers of its request."""
    await client.connect()
    await client.send(client.request + b"\r\n")


async def unanswered(client: Client) -> None:
    """Leaves before the answer to its request."""
    await client.connect()
    await client.send(client.request + b"\r\n\r\n")


VISITS: Final[tuple[Visit, ...]] = (idle, blocked, half_a_line, half_a_head, unanswered, idle, blocked, unanswered)


def request(path: str, more: bytes = b"") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: test".encode() + more


def requests_of(quiet: str, long: str, more: bytes = b"") -> dict[Any, bytes]:
    """What the visitors ask for: a channel where they wait, and one whose replay is longer than they take."""
    return {
        idle: request(f"/events/?channel={quiet}", more),
        blocked: request(f"/events/?channel={long}&after=earliest", more),
    }


async def come_and_go(port: int, requests: dict[Visit, bytes], count: int) -> None:
    """So many visits of all kinds, a few at once."""
    numbers = iter(range(count))

    async def one_after_the_other() -> None:
        for number in numbers:
            visit = VISITS[number % len(VISITS)]
            client = Client(port, requests.get(visit, requests[idle]))
            try:
                await asyncio.wait_for(visit(client), PATIENCE_SECONDS)
            finally:
                client.leave(reset=number // len(VISITS) % 2 == 1)

    await asyncio.gather(*[one_after_the_other() for _ in range(AT_ONCE)])
