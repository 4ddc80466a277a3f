"""Events, positions and entries: the words that every other module speaks. How entries look as bytes: records.

Tokens (epochs, checks) are 8 characters of ``[A-Za-z0-9]``; they name things and prove continuity, they are no secrets.
Internally they stay bytes, as they came; `Position` shows them as text. Nothing here waits or reads a clock.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

from .errors import InvalidChannel, InvalidEventType

NAME_RULE: Final = "[A-Za-z0-9][A-Za-z0-9_.:@-]{0,199}"
_NAME = re.compile(NAME_RULE)
MAX_NAME_CHARACTERS: Final = 200

NAME_CACHE_BYTES: Final = 8 * 2**20  # of one cache by names, were all of them as long as names may be
_PLACE_BYTES: Final = 260  # in a cache: a str, a bytes or bool, a link and a place in a table, without their characters

END_TYPE: Final = "stream.end"
DEFAULT_TYPE: Final = "message"  # the DOM's name of an event without an event: line (HTML standard 9.2.6)

TOKEN_BYTES: Final = 8  # of an epoch and of a check
GENESIS: Final = b"0"  # the check before the first entry of an epoch
NO_EPOCH: Final = b"0"  # of a channel without entries: no life of its log has begun, and nothing is kept of it

ENTRY_BYTES: Final = 400  # an `Entry` without its data and without the same again, rendered

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TO_ALPHABET: Final = bytes(_ALPHABET[i % 62] for i in range(256))

Result = TypeVar("Result")


class Visibility(enum.StrEnum):
    """The audience of an event; streams to browsers carry only the first two unless a trusted filter asks for more."""

    USER_FACING = "user_facing"
    LIVE_UI_ONLY = "live_ui_only"  # delivered live, never stored
    MODEL_ONLY = "model_only"
    INTERNAL_ONLY = "internal_only"

    @property
    def code(self) -> str:
        return self.value[0]


VISIBILITY_OF_CODE: Final = {v.code: v for v in Visibility}


@dataclass(frozen=True)
class Json:
    """Data that is already JSON, UTF-8 encoded; it is trusted to be valid and stored as it is."""

    data: bytes


@dataclass(frozen=True)
class Text:
    """Data that is plain text and goes out raw, without JSON quotes; it may hold several lines."""

    text: str


def cached_by_name(longest: int) -> Callable[[Callable[[str], Result]], Callable[[str], Result]]:
    """Caches a function of a name in `NAME_CACHE_BYTES` at most; the longest name and its result take `longest` bytes."""
    return lru_cache(maxsize=NAME_CACHE_BYTES // (_PLACE_BYTES + longest))


def new_token() -> bytes:
    """8 random characters of ``[A-Za-z0-9]`` from the operating system (47 bits): a check."""
    return os.urandom(TOKEN_BYTES).translate(_TO_ALPHABET)


def new_tokens(count: int) -> list[bytes]:
    """`count` tokens from one call to the operating system."""
    text = os.urandom(TOKEN_BYTES * count).translate(_TO_ALPHABET)
    return [text[i : i + TOKEN_BYTES] for i in range(0, TOKEN_BYTES * count, TOKEN_BYTES)]


def check_channel(name: str) -> str:
    """`name` as a plain str, whatever kind of str it came as; raises `InvalidChannel` if it breaks the rule."""
    # the length first: `_known_good` remembers what it was asked, and a client may ask for many long names
    if isinstance(name, str) and len(name) <= MAX_NAME_CHARACTERS and _known_good(name):
        return name if type(name) is str else str.__str__(name)  # an enum's member formats as its own name
    raise InvalidChannel(f"a channel name must match {NAME_RULE}, got {name!r:.300}")


def check_type(name: str) -> str:
    """`name` as a plain str; raises `InvalidEventType` if it breaks the rule of channel names or is reserved."""
    if isinstance(name, str) and len(name) <= MAX_NAME_CHARACTERS and _known_type(name):
        return name if type(name) is str else str.__str__(name)
    if isinstance(name, str) and _is_reserved(name):
        raise InvalidEventType(
            f"event type {name!r:.300} is reserved: 'open' and 'error' would reach EventSource's own handlers and "
            "'stream.*' are this library's control events; choose another name"
        )
    raise InvalidEventType(f"an event type must match {NAME_RULE}, got {name!r:.300}")


@cached_by_name(4 * MAX_NAME_CHARACTERS)  # a text that is no name may have any characters
def _known_good(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


@cached_by_name(4 * MAX_NAME_CHARACTERS)
def _known_type(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and not _is_reserved(name)


def _is_reserved(type: str) -> bool:
    return type in ("open", "error") or type.startswith("stream.")


@cached_by_name(MAX_NAME_CHARACTERS + 8)
def channel_key(channel: str) -> bytes:
    """The short name of a channel inside an id: 8 characters, 40 bits of BLAKE2b."""
    number = int.from_bytes(hashlib.blake2b(channel.encode(), digest_size=5).digest(), "big")
    text = bytearray()
    for _ in range(8):
        number, digit = divmod(number, 32)
        text.append(b"abcdefghijklmnopqrstuvwxyz234567"[digit])
    return bytes(text)


@dataclass(frozen=True)
class Position:
    """A point in one channel's log; ``str(position)`` is the SSE id on a one-channel stream.

    Attributes:
        key: the channel's short name inside ids.
        epoch: names one life of the log.
        offset: counts 1, 2, 3 … without holes; 0 is before the first entry.
        check: the nonce of the entry at this offset.
        ended: True behind a stored end.
    """

    key: str
    epoch: str
    offset: int
    check: str
    ended: bool = False

    def __init__(self, key: str, epoch: str, offset: int, check: str, ended: bool = False) -> None:
        # A generated __init__ of a frozen dataclass calls `object.__setattr__` per field, a fifth of a `publish_many`.
        fields = self.__dict__
        fields["key"] = key
        fields["epoch"] = epoch
        fields["offset"] = offset
        fields["check"] = check
        fields["ended"] = ended

    def __str__(self) -> str:
        return f"{self.key}-{self.epoch}-{self.offset}-{self.check}{'-e' if self.ended else ''}"


class Entry:
    """One record in memory, stored or ephemeral; shared by all readers of a process and never changed.

    ``bodies`` holds the rendered bytes by wire format, made by the first reader that needs them; None until then.
    ``record`` holds the bytes that it came as (records/codec.py); None if it was not made from such.
    """

    __slots__ = (
        "bodies",
        "check",
        "data",
        "epoch",
        "kind",
        "offset",
        "prev",
        "record",
        "stored",
        "time_ms",
        "type",
        "visibility",
    )

    def __init__(
        self,
        epoch: bytes,
        offset: int,
        prev: bytes,
        check: bytes,
        time_ms: int,
        visibility: str,
        kind: str,
        type: str,
        data: bytes,
        stored: bool = True,
        record: bytes | None = None,
    ) -> None:
        self.epoch = epoch
        self.offset = offset
        self.prev = prev
        self.check = check
        self.time_ms = time_ms
        self.visibility = visibility
        self.kind = kind
        self.type = type
        self.data = data
        self.stored = stored
        self.record = record
        self.bodies: dict[str, bytes] | None = None

    @property
    def is_end(self) -> bool:
        return self.type == END_TYPE

    @property
    def size(self) -> int:
        """Roughly the bytes it holds in memory: data plus the object, its header and one rendered form."""
        return 2 * len(self.data) + ENTRY_BYTES

    def __repr__(self) -> str:
        return f"<Entry {self.epoch.decode()}:{self.offset} {self.type} {len(self.data)} bytes>"


class Event:
    """One item of an iterator: an entry of a channel, or a control event (``stream.gap``, ``stream.end``).

    Attributes:
        channel: the channel's name.
        type: the event's type as in the DOM; ``message`` when none was given.
        position: where it stands in its channel's log; None for an ephemeral event.
        id: what the SSE ``id:`` line says (resume here); None for an ephemeral event, and while a channel of the stream has
            no position yet.
        visibility: who may see it.
        published_at: the broker's clock when it was appended, in UTC.
        data: decoded on first use: the JSON value, or str for `Text`.
    """

    __slots__ = ("_data", "_decoded", "_kind", "channel", "id", "position", "published_at_ms", "type", "visibility")

    def __init__(
        self,
        channel: str,
        data: Any = None,
        *,
        type: str = DEFAULT_TYPE,
        visibility: Visibility = Visibility.USER_FACING,
    ) -> None:
        self.channel = channel
        self.type = type
        self.visibility = Visibility(visibility)
        self.position: Position | None = None
        self.id: str | None = None
        self.published_at_ms: int | None = None
        self._data = data
        self._kind = ""
        self._decoded = True

    @classmethod
    def of(cls, channel: str, entry: Entry, position: Position | None, id: str | None) -> Event:
        event = cls.__new__(cls)
        event.channel = channel
        event.type = entry.type
        event.visibility = VISIBILITY_OF_CODE[entry.visibility]
        event.position = position
        event.id = id
        event.published_at_ms = entry.time_ms
        event._data = entry.data
        event._kind = entry.kind
        event._decoded = False
        return event

    @property
    def data(self) -> Any:
        if not self._decoded:
            raw: bytes = self._data
            self._data = json.loads(raw) if self._kind == "J" else raw.decode("utf-8", "replace")
            self._decoded = True
        return self._data

    def _payload(self) -> Any:
        """The data to publish for this event: as given, or as received."""
        if self._decoded or not self._kind:
            return Text(self._data) if self._kind == "T" else self._data
        raw: bytes = self._data
        return Json(raw) if self._kind == "J" else Text(raw.decode("utf-8", "replace"))

    @property
    def published_at(self) -> datetime | None:
        if self.published_at_ms is None:
            return None
        return datetime.fromtimestamp(self.published_at_ms / 1000, UTC)

    def __repr__(self) -> str:
        return f"Event({self.channel!r}, {self.data!r:.120}, type={self.type!r}, id={self.id!r})"
