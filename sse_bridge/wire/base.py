"""The contract of a wire format: entries in, bytes out, nothing else.

A format is a stateless object that all readers of a process share. Nothing here waits, reads a clock, or remembers.
The rules that every format keeps:

- Only ``wire`` writes frames, and a value that is not data enters one through `line_value` or `check_id` alone. Both
  reject values that could break out of their line, and never strip them, which would hide an attack.
- A call returns whole frames. An SSE heartbeat is a comment line, which belongs to the frame after it.
- The body of an entry is made once per format and shared by every reader; adding the id is one concatenation.
- Control events are called ``stream.*``; `check_type` keeps those names, ``open`` and ``error`` from applications.

A frame's parts, as far as the format has them: type, data, id (resume here), retry_ms (wait before reconnecting).
The control events and their data:

    stream.open       {}                                  first frame; id = where this stream starts
    stream.gap        {"channel", "reason", "missed"}     continuity could not be proven; id = behind the gap, if any
    stream.position   {}                                  filtered entries moved the position; id = the new one
    stream.end        {"channel", "reason"}               the channel's end; id = behind it
    stream.error      {"message"} or {"message", "detail"}  the source failed; the stream ends
    stream.close      {"reason"}                          the server ends this connection; reconnect after retry_ms
    stream.heartbeat  (WebSocket only)                    nothing happened for a while
"""

from __future__ import annotations

import json
import re
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import pydantic_core

from ..errors import InvalidInput
from ..events import END_TYPE, Entry

# The alphabet of this library's ids (docs/architecture.md): safe in a header, in an SSE line and between JSON quotes.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_ID_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"


class Format(ABC):
    """The bytes of entries on one kind of connection.

    Attributes:
        name: the format's name in requests, and its key in ``Entry.bodies``.
        content_type: the response header's value.
        media_types: its types in an Accept header, in lower case, the preferred one first.
        joins: frames may be concatenated into one write; False where each is a message of its own.
        tells: control events reach the client. Where they do not (text), a failed source should cut the connection,
            and a stream of channels cannot report its gaps.
        cuts: a stream of channels that must end before its channels did is cut as well, not closed.
        raw: a frame is the item's own bytes, unchanged.
        prefix, separator, suffix: bytes before the first frame, between two frames, and after the last; empty except
            in a JSON array. Heartbeats stand anywhere and take no separator.
    """

    name: ClassVar[str]
    content_type: ClassVar[str]
    media_types: ClassVar[tuple[str, ...]]
    joins: ClassVar[bool] = True
    tells: ClassVar[bool] = True
    cuts: ClassVar[bool] = False
    raw: ClassVar[bool] = False
    prefix: ClassVar[bytes] = b""
    separator: ClassVar[bytes] = b""
    suffix: ClassVar[bytes] = b""

    @abstractmethod
    def body(self, channel: str, entry: Entry) -> bytes:
        """An entry's frame without the id, cached in ``Entry.bodies``."""

    @abstractmethod
    def with_id(self, body: bytes, id: bytes) -> bytes:
        """The whole frame of a stored entry; a client that saw it resumes at `id`."""

    def without_id(self, body: bytes) -> bytes:
        """The whole frame of an ephemeral entry, which moves no position: its body, unless the format completes it."""
        return body

    @abstractmethod
    def render(self, event_type: str | None, data: bytes, kind: str, id: str | None = None) -> bytes:
        """The whole frame of an application's own event, which is in no log.

        Args:
            event_type: its type; None for a plain item, which NDJSON and JSON arrays write without an envelope.
            data, kind: from `encode_data`.
            id: the application's own id, any text on one line.

        Raises:
            InvalidEventType: the type breaks the rule or is reserved.
            InvalidInput: the id holds CR, LF, NUL or a lone surrogate.
        """

    def control(
        self,
        event_type: str,
        data: Mapping[str, Any],
        *,
        channel: str | None = None,
        id: bytes | None = None,
        retry_ms: int | None = None,
    ) -> bytes:
        """The whole frame of a control event; empty where the format carries none.

        Args:
            channel: the channel that the event concerns; None: the connection.
            id: the position at which a client that saw the event resumes; None leaves the client's last id.
            retry_ms: milliseconds to wait before a reconnect, at least 1; None leaves the client's last value.

        Raises:
            InvalidInput: the id is not one of this library, or `retry_ms` is less than 1.
        """
        if id is not None:
            check_id(id)
        if retry_ms is not None and (type(retry_ms) is not int or retry_ms < 1):  # 0 is a hot loop in Chromium
            raise InvalidInput(f"retry_ms must be an int of at least 1, got {retry_ms!r}")
        return self.control_frame(event_type, encode_json(data), channel, id, retry_ms)

    def control_frame(
        self, event_type: str, data: bytes, channel: str | None, id: bytes | None, retry_ms: int | None
    ) -> bytes:
        """The frame of `control`, whose `id` and `retry_ms` are checked; `data` is JSON on one line."""
        return b""

    @abstractmethod
    def heartbeat(self) -> bytes:
        """Bytes that show that the connection lives, and that no client takes for an event; may be empty."""

    def gap(self, channel: str, reason: str, missed: int | None, id: bytes | None) -> bytes:
        """The frame of a gap; `id` is the position behind it, so that report and position arrive together.

        `id` is None where another gap follows, which the client must get before it may resume behind both.
        """
        data = {"channel": channel, "reason": reason, "missed": missed}
        return self.control("stream.gap", data, channel=channel, id=id)

    def position(self, id: bytes) -> bytes:
        """The frame of a position that hidden entries moved."""
        return self.control("stream.position", {}, id=id)

    def end(self, channel: str, reason: str | None, id: bytes | None) -> bytes:
        """The end of a channel whose stored end is gone; the same shape as the stored one."""
        return self.control(END_TYPE, {"channel": channel, "reason": reason}, channel=channel, id=id)

    def error(self, message: str, detail: Mapping[str, Any] | None = None) -> bytes:
        """The frame of a failed source, with `detail` for debugging only. Accepts any text, such as an exception's."""
        data: dict[str, Any] = {"message": message}
        if detail is not None:
            data["detail"] = detail
        return self.control("stream.error", data)

    def retry(self, retry_ms: int, reason: str | None = None) -> bytes:
        """The last frame of a connection that the server ends: drained, too old, or refused for now.

        An event of its own, ``stream.close``, because httpx-sse and the OpenAI decoder make an empty event of a frame
        that holds only ``retry:``. The frame carries no id, so that the client keeps its last one.
        """
        return self.control("stream.close", {"reason": reason}, retry_ms=retry_ms)


def line_value(what: str, value: str) -> bytes:
    """`value` in UTF-8 if it can stand on one line of any format.

    Raises:
        InvalidInput: it holds a control character: CR and LF end a line and NUL voids an id (HTML standard 9.2.6), VT,
            FF, FS to RS and U+0085 end a line for clients that split at what ``splitlines()`` does; or a lone surrogate,
            which UTF-8 cannot carry.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be a str, got {value!r:.120}")
    if _CONTROL.search(value):
        raise InvalidInput(f"{what} must be one line without control characters, got {value!r:.120}")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} must be valid Unicode without lone surrogates, got {value!r:.120}") from None


def check_id(id: bytes) -> bytes:
    """Returns `id` if it has the form of our own ids; raises `InvalidInput` if not, or if it is empty.

    One C call for a valid id, since the check runs for every frame of a stored entry.
    """
    if not id or id.translate(None, _ID_BYTES):
        raise InvalidInput(f"an id of this library consists of [A-Za-z0-9_.-], got {id!r:.120}")
    return id


def encode_json(value: Any) -> bytes:
    """Any `value` as JSON on one line, since the frame of an error must not fail over the error's data."""
    try:
        return pydantic_core.to_json(value, inf_nan_mode="null", serialize_unknown=True)
    except (ValueError, RecursionError):  # a lone surrogate in an exception's message, a cycle, a broken serializer
        return json.dumps(_plain(value)).encode("ascii")


def _plain(value: Any, depth: int = 4) -> Any:
    if depth and isinstance(value, Mapping):
        return {_plain_text(key): _plain(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_plain(item, depth - 1) for item in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    return _plain_text(value)


def _plain_text(value: Any) -> str:
    # `reprlib` bounds the depth and survives a __repr__ that raises.
    text = value if isinstance(value, str) else reprlib.repr(value)
    return text.encode("utf-8", "replace").decode()
