"""A WebSocket client's messages as values; parsing is total, so that no message can end a session by surprise."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from ...errors import InvalidInput
from ...events import check_channel
from ...records.codec import MAX_ID_BYTES
from ...wire import WEBSOCKET_FORMAT

MAX_LAST: Final = 10_000_000
MAX_DIGITS: Final = 400  # the largest double has 309


@dataclasses.dataclass(frozen=True)
class Subscribe:
    """Follow these channels too, from `after` (an id), `start` (a word) or `last` (a count)."""

    channels: tuple[str, ...]
    after: str | None = None
    start: str | None = None
    last: int | None = None


@dataclasses.dataclass(frozen=True)
class Unsubscribe:
    """Stop following these channels; other names are ignored."""

    channels: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Cancel:
    """Stop the run behind the stream; `message` is the client's whole message."""

    message: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Ping:
    """Answer with `WebSocketScript.pong`."""


@dataclasses.dataclass(frozen=True)
class Custom:
    """A message of the application's own; `message` is the client's whole message."""

    type: str
    message: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A message that breaks a rule. Send `frame`; then close with `close_code`, unless None."""

    frame: bytes
    close_code: int | None = None


Command = Subscribe | Unsubscribe | Cancel | Ping | Custom | Rejected


def error_frame(status: int, message: str, command: Command | None = None) -> bytes:
    """``stream.error`` with the HTTP status of the same mistake, and the type of the command that it answers."""
    detail: dict[str, Any] = {"status": status}
    if command is not None:
        detail["request"] = command.type if isinstance(command, Custom) else type(command).__name__.lower()
    return WEBSOCKET_FORMAT.error(message, detail)


def parse_command(message: str | bytes) -> Command:
    """One message of a client; raises `InvalidInput`."""
    try:
        value = json.loads(message, parse_int=_int)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"a message must be a JSON object, got {message!r:.120}: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise InvalidInput(f'a message must be a JSON object with a "type", got {message!r:.120}')
    name: str = value["type"]
    if name == "subscribe":
        after, start = value.get("after"), None
        if after in ("earliest", "now"):
            after, start = None, after
        if after is not None and not isinstance(after, str):
            raise InvalidInput(f'"after" must be an id, "earliest" or "now", got {after!r:.120}')
        last = value.get("last")
        if last is not None and (type(last) is not int or not 0 <= last < MAX_LAST):
            raise InvalidInput(f'"last" must be a whole number from 0, got {last!r:.120}')
        return Subscribe(_names(value), after[: MAX_ID_BYTES + 1] if after else None, start, last)
    if name == "unsubscribe":
        return Unsubscribe(_names(value))
    if name == "cancel":
        return Cancel(value)
    if name == "ping":
        return Ping()
    return Custom(name, value)


def _int(text: str) -> int:
    """A JSON integer; `int` takes quadratic time for long ones wherever Python's own limit is switched off."""
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has at most {MAX_DIGITS} digits here, got {len(text)}")
    return int(text)


def _names(value: Mapping[str, Any]) -> tuple[str, ...]:
    names = value.get("channels")
    if not isinstance(names, list) or not names or not all([isinstance(name, str) for name in names]):
        raise InvalidInput(f'"channels" must be a list of names, got {names!r:.120}')
    return tuple(dict.fromkeys(check_channel(name) for name in names))
