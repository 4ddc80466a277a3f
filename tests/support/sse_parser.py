"""Server-sent events back from bytes: a strict parser of our own and an independent one.

The strict parser holds the stream to what sse_bridge promises, which is narrower than what clients must accept
(HTML standard, 9.2.6): lines end in LF alone, only known fields, one space after the colon, no NUL in an id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import httpx
import httpx_sse


class Frame(NamedTuple):
    """One event.

    Attributes:
        id: The last event id as it stands after this frame: what a client sends when it reconnects now.
        event: The type; "message" where no event line came.
        data: The data lines joined by LF.
        retry: Of this frame, in milliseconds.
        own_id: Whether the frame carried an id line of its own.
    """

    id: str
    event: str
    data: str
    retry: int | None = None
    own_id: bool = False


class SSEParser:
    """Feed bytes, get frames.

    Attributes:
        last_event_id: What a client would send on reconnect; it moves only when a frame is complete.
        comments: The comment lines so far, without their colon.
        retry: The last reconnection time in milliseconds.
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.comments: list[str] = []
        self.retry: int | None = None
        self._rest = b""
        self._start()

    def _start(self) -> None:
        self._fields: dict[str, str] = {}
        self._data: list[str] = []

    @property
    def inside_frame(self) -> bool:
        """Whether the bytes so far end inside a frame."""
        return bool(self._rest or self._fields or self._data)

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that this chunk completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        frames = []
        for raw in lines:
            line = raw.decode("utf-8")  # strict: clients would show U+FFFD
            assert "\r" not in line, f"expected LF alone as line end, got {line!r}"
            assert not line.startswith("\ufeff"), "a byte order mark in the stream"
            if line:
                self._line(line)
            elif self._fields or self._data:
                frames.append(self._dispatch())
        return frames

    def _line(self, line: str) -> None:
        if line.startswith(":"):
            self.comments.append(line[1:])
            return
        match = re.fullmatch(r"(id|event|data|retry): (.*)|(id|data):?", line, re.DOTALL)
        assert match, f"expected 'field: value' with a known field, got {line!r}"
        name, value = match[1] or match[3], match[2] or ""
        if name == "data":
            self._data.append(value)
            return
        assert name not in self._fields, f"two {name} lines in one frame"
        assert name != "retry" or re.fullmatch(r"[0-9]+", value), f"retry takes ASCII digits, got {value!r}"
        assert "\0" not in value, f"NUL in {line!r}"
        self._fields[name] = value

    def _dispatch(self) -> Frame:
        own_id = "id" in self._fields
        assert self._data, f"a frame without data is no event for some clients: {self._fields!r}"
        self.last_event_id = self._fields.get("id", self.last_event_id)
        retry = int(self._fields["retry"]) if "retry" in self._fields else None
        self.retry = retry if retry is not None else self.retry
        event = self._fields.get("event", "message")
        frame = Frame(self.last_event_id, event, "\n".join(self._data), retry, own_id)
        self._start()
        return frame


def parse(body: bytes) -> list[Frame]:
    """Parse a whole stream that must end on a frame boundary."""
    parser = SSEParser()
    frames = parser.feed(body)
    assert not parser.inside_frame, f"the stream ends inside a frame: {body[-200:]!r}"
    return frames


def parse_with_httpx_sse(chunks: Iterable[bytes]) -> Iterator[httpx_sse.ServerSentEvent]:
    """The same bytes through httpx-sse, a parser that shares nothing with ours."""
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=iter(chunks))
    return httpx_sse.EventSource(response).iter_sse()
