"""Server-sent events back from bytes, without I/O, and stricter than a browser.

Clients must accept more than servers should write (HTML standard, 9.2.5 and 9.2.6). This parser accepts only streams
that every client understands: UTF-8 without a byte order mark, lines that end in LF alone, known fields only, one space
after the colon, digits in ``retry``, no NUL in an id, and data in every frame. Anything else is `BrokenStream`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

_FIELD = re.compile(r"(id|event|data|retry): (.*)|(id|data):?", re.DOTALL)
_DIGITS = re.compile(r"[0-9]+")


class BrokenStream(AssertionError):
    """A stream is malformed, refused, too early at its end, or silent for too long."""


class ServerSentEvent(NamedTuple):
    """One event as a client sees it.

    Attributes:
        id: the last event id after this event, which a client sends when it reconnects now.
        event: the type; "message" without an event line.
        data: the data lines joined by LF.
        retry: of this frame, in milliseconds.
        own_id: whether the frame carried an id line of its own.
    """

    id: str
    event: str
    data: str
    retry: int | None = None
    own_id: bool = False

    def json(self) -> Any:
        """The data as JSON."""
        return json.loads(self.data)


class SSEParser:
    """Feed bytes, get events.

    Attributes:
        last_event_id: the id that a client would send on reconnect; changes only when a frame is complete.
        comments: the comment lines so far, without their colon; heartbeats are among them.
        retry: the last reconnection time in milliseconds.
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

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that this chunk completes.

        Raises:
            BrokenStream: the bytes break a rule of the module; the parser must not be used any more.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        events = []
        for raw in lines:
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:  # clients would show U+FFFD
                raise BrokenStream(f"expected UTF-8, got {raw!r:.200}: {error}") from None
            _demand("\r" not in line, "expected LF alone as line end", line)
            _demand(not line.startswith("\ufeff"), "expected no byte order mark", line)
            if line:
                self._line(line)
            elif self._fields or self._data:
                events.append(self._dispatch())
        return events

    def finish(self) -> None:
        """Ends the stream; raises `BrokenStream` inside a frame, whose event a client throws away."""
        rest = self._rest or {**self._fields, "data": self._data}
        _demand(not self.inside_frame, "expected the end of the stream on a frame boundary, but it left", rest)

    def _line(self, line: str) -> None:
        if line.startswith(":"):
            self.comments.append(line[1:])
            return
        match = _FIELD.fullmatch(line)
        if match is None:
            raise BrokenStream(f"expected 'field: value' with a known field, got {line!r:.200}")
        name, value = match[1] or match[3], match[2] or ""
        if name == "data":
            self._data.append(value)
            return
        _demand(name not in self._fields, f"expected one {name} line in a frame, got another", line)
        _demand(name != "retry" or _DIGITS.fullmatch(value) is not None, "expected ASCII digits in retry", line)
        _demand("\0" not in value, "expected no NUL", line)
        self._fields[name] = value

    def _dispatch(self) -> ServerSentEvent:
        own_id = "id" in self._fields
        _demand(bool(self._data), "expected data in every frame, without it some clients see no event", self._fields)
        self.last_event_id = self._fields.get("id", self.last_event_id)
        retry = int(self._fields["retry"]) if "retry" in self._fields else None
        self.retry = retry if retry is not None else self.retry
        kind = self._fields.get("event", "message")
        event = ServerSentEvent(self.last_event_id, kind, "\n".join(self._data), retry, own_id)
        self._start()
        return event


def parse_sse(body: bytes | Iterable[bytes]) -> list[ServerSentEvent]:
    """The events of a whole stream, which must end on a frame boundary; raises `BrokenStream`."""
    parser = SSEParser()
    events: list[ServerSentEvent] = []
    for chunk in [body] if isinstance(body, bytes) else body:
        events += parser.feed(chunk)
    parser.finish()
    return events


def _demand(holds: bool, rule: str, got: object) -> None:
    if not holds:
        raise BrokenStream(f"{rule}: {got!r:.200}")
