"""A strict blocking SSE reader, and one that reconnects with Last-Event-ID as a browser does."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping
from typing import Self

from tests.support.http_stream import Ended, HTTPStream
from tests.support.sse_parser import Frame, SSEParser
from tests.support.wait import wait_for


class SSEClient:
    """One connection.

    Args:
        url: The stream's address.
        headers: Added to Accept; `{"Accept-Encoding": "gzip"}` is understood.
        last_event_id: Sent as Last-Event-ID when it is not empty.
        method: With `body` for a stream that is asked for by POST.
        body: The request's body.
        seconds: The longest wait for the response's head.
        receive_buffer: See `HTTPStream`: small for a reader that is meant to be slow.

    Attributes:
        response: Status and headers are here.
        parser: `parser.comments` are the heartbeats so far, `parser.retry` the last retry.
        frames: All frames so far, `stream.open` included.
        received: The body's bytes so far, after decompression.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        last_event_id: str = "",
        method: str = "GET",
        body: bytes = b"",
        seconds: float = 60,
        receive_buffer: int | None = None,
    ) -> None:
        sent = {"Accept": "text/event-stream", **(headers or {})}
        if last_event_id:
            sent["Last-Event-ID"] = last_event_id
        self.response = HTTPStream(url, sent, method=method, body=body, seconds=seconds, receive_buffer=receive_buffer)
        self.parser = SSEParser(last_event_id)
        self.frames: list[Frame] = []
        self.received = b""
        self._given = 0
        gzipped = self.response.headers.get("content-encoding") == "gzip"
        self._decompress = zlib.decompressobj(31).decompress if gzipped else None

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> dict[str, str]:
        return self.response.headers

    @property
    def last_event_id(self) -> str:
        return self.parser.last_event_id

    @property
    def ended(self) -> Ended:
        """`""` while it runs, then `"complete"` or `"cut"`."""
        return self.response.ended

    def read(self, seconds: float = 60) -> bool:
        """Take in what arrives next; False when nothing came in time or the body has ended."""
        data = self.response.read(seconds)
        if not data:
            return False
        if self._decompress:
            data = self._decompress(data)
        self.received += data
        self.frames += self.parser.feed(data)
        return True

    def next(self, seconds: float = 60) -> Frame | None:
        """The next frame, None when none came in time or the body has ended."""
        deadline = time.monotonic() + seconds
        while self._given == len(self.frames):
            if not self.read(max(deadline - time.monotonic(), 0)):
                return None
        self._given += 1
        return self.frames[self._given - 1]

    def take(self, count: int, seconds: float = 60) -> list[Frame]:
        """The next `count` frames; an AssertionError when fewer came in time."""
        deadline = time.monotonic() + seconds
        taken: list[Frame] = []
        while len(taken) < count:
            frame = self.next(max(deadline - time.monotonic(), 0))
            assert frame is not None, f"expected {count} frames in {seconds} s, got {taken!r} ({self.ended or 'open'})"
            taken.append(frame)
        return taken

    def rest(self, seconds: float = 60) -> list[Frame]:
        """The frames up to the end of the body; an AssertionError when it has not ended in time."""
        deadline = time.monotonic() + seconds
        while not self.ended:
            came = self.read(max(deadline - time.monotonic(), 0))
            assert came or self.ended, f"the stream has not ended in {seconds} s, so far {self.frames!r}"
        rest, self._given = self.frames[self._given :], len(self.frames)
        return rest

    def close(self) -> None:
        self.response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Resumed:
    """What `follow` saw.

    Attributes:
        frames: The frames of all connections in order, without `stream.open` and `stream.position`.
        connections: How many responses with status 200 came.
        finished: Whether a 204 told the client to stop.
    """

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.connections = 0
        self.finished = False


def follow(
    url: str,
    done: Callable[[list[Frame]], bool],
    *,
    headers: Mapping[str, str] | None = None,
    last_event_id: str = "",
    seconds: float = 60,
) -> Resumed:
    """Read until `done(frames)` or a 204, reconnecting with Last-Event-ID whenever the connection ends.

    A frame that was cut in the middle is thrown away, as the standard demands. A refused connection is tried again, where a
    browser would give up; any status but 200 and 204 is an AssertionError.
    """
    seen = Resumed()
    deadline = time.monotonic() + seconds

    def left() -> float:
        assert time.monotonic() < deadline, f"not done in {seconds} s, {len(seen.frames)} frames: {seen.frames[-3:]!r}"
        return deadline - time.monotonic()

    def connect() -> SSEClient | None:
        try:
            return SSEClient(url, headers, last_event_id=last_event_id, seconds=left())
        except ConnectionError:
            return None

    while not done(seen.frames):
        with wait_for(connect, left(), what=f"a connection to {url}") as client:
            if client.status == 204:
                seen.finished = True
                return seen
            assert client.status == 200, f"expected 200 or 204, got {client.status}: {client.response.read_all(5)!r}"
            seen.connections += 1
            while not done(seen.frames):
                frame = client.next(min(left(), 1))
                if frame is None and client.ended:
                    break  # not before the last frame is taken: the end may have come in the same packet
                if frame is not None and frame.event not in {"stream.open", "stream.position"}:
                    seen.frames.append(frame)
            last_event_id = client.last_event_id
    return seen
