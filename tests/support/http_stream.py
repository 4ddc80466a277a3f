"""A raw HTTP/1.1 response that is read as it arrives.

http.client cannot be read on after a timeout and hides how a body ended; here a read that times out returns None and may be
repeated, and `ended` tells a complete body from a cut one.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Mapping
from typing import Literal, Self
from urllib.parse import urlsplit

Ended = Literal["", "complete", "cut"]


class HTTPStream:
    """One request and its response.

    Args:
        url: `http://host:port/path?query`.
        headers: Sent as given, besides Host.
        method: The request's method.
        body: Sent with its Content-Length.
        seconds: The longest wait for the connection and for the response's head.
        receive_buffer: Size of the socket's receive buffer in bytes, set before connecting: a small one makes a slow reader.

    Attributes:
        status: The status code.
        headers: The response's headers, names in lower case.
        ended: `""` while the body runs, then how it ended.

    Raises:
        ConnectionError: Refused, or cut inside the response's head.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes = b"",
        seconds: float = 60,
        receive_buffer: int | None = None,
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname, f"expected http://host:port/path, got {url!r}"
        self.ended: Ended = ""
        self._buffer = b""
        self._left: int | None = None  # bytes left of the chunk or of the body; None before a chunk's size line
        self._socket = socket.socket()
        try:
            self._socket.settimeout(seconds)
            if receive_buffer:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self._socket.connect((parts.hostname, parts.port or 80))
            lines = [f"{method} {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1"]
            lines.append(f"Host: {parts.netloc}")
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            if body or method in {"POST", "PUT", "PATCH"}:
                lines.append(f"Content-Length: {len(body)}")
            self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            self._read_head(time.monotonic() + seconds)
        except BaseException:
            self._socket.close()
            raise

    def _read_head(self, deadline: float) -> None:
        while b"\r\n\r\n" not in self._buffer:
            data = self._receive(deadline - time.monotonic())
            if data is None:
                raise TimeoutError(f"no response head in time, got {self._buffer!r}")
            if not data:
                raise ConnectionError(f"cut inside the response head: {self._buffer!r}")
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ", 2)[1])
        self.header_list = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in rest)]
        self.headers = dict(self.header_list)
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        if not self._chunked and "content-length" in self.headers:
            self._left = int(self.headers["content-length"])
        if self.status in {204, 304} or (not self._chunked and self._left == 0):
            self.ended = "complete"

    def _receive(self, seconds: float) -> bytes | None:
        """Bytes, b"" at the end of the connection, None when nothing came in time."""
        if not select.select([self._socket], [], [], max(seconds, 0))[0]:
            return None
        try:
            return self._socket.recv(65536)
        except OSError:
            return b""

    def read(self, seconds: float = 60) -> bytes | None:
        """Return the next bytes of the body, b"" once it has ended, None when none came in time."""
        deadline = time.monotonic() + seconds
        while not self.ended:
            data = self._take()
            if data or self.ended:
                return data
            more = self._receive(deadline - time.monotonic())
            if more is None:
                return None
            if not more:
                until_close = not self._chunked and self._left is None
                self.ended = "complete" if until_close else "cut"
            self._buffer += more
        return b""

    def _take(self) -> bytes:
        """The body's bytes that the buffer holds, without the framing."""
        if not self._chunked:
            data, self._buffer = self._buffer[: self._left], self._buffer[len(self._buffer[: self._left]) :]
            if self._left is not None:
                self._left -= len(data)
                if not self._left:
                    self.ended = "complete"
            return data
        body = b""
        while True:
            if self._left is None:
                line, found, rest = self._buffer.lstrip(b"\r\n").partition(b"\r\n")
                if not found:
                    return body
                self._left, self._buffer = int(line.split(b";")[0], 16), rest
                if self._left == 0:
                    self.ended = "complete"
                    return body
            data, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
            self._left -= len(data)
            body += data
            if self._left:
                return body
            self._left = None

    def read_all(self, seconds: float = 60) -> bytes:
        """The rest of the body; an AssertionError when it has not ended in time."""
        deadline = time.monotonic() + seconds
        body = b""
        while not self.ended:
            data = self.read(deadline - time.monotonic())
            assert data is not None, f"the body has not ended in time, so far {body!r}"
            body += data
        return body

    def close(self) -> None:
        """Leave, as a browser tab that is closed."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
