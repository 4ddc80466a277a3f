"""Lines that the commands of cli.py print; pure."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import pydantic_core

from .encoding import encode_data
from .events import END_TYPE, Entry, Event
from .publishing.letters import DeadLetter
from .wire import Format


def frame(event: Event, format: Format) -> bytes:
    """An event as a format writes it, with its id."""
    id = None if event.id is None else event.id.encode()
    position = event.position
    if event.type == "stream.gap" or (event.type == END_TYPE and position is None):
        return format.control(event.type, event.data, channel=event.channel, id=id)
    kind, data = encode_data(event._payload(), sys.maxsize)
    epoch, offset, check = (b"", 0, b"") if position is None else (
        position.epoch.encode(), position.offset, position.check.encode()
    )  # fmt: skip
    time_ms = event.published_at_ms or 0
    entry = Entry(epoch, offset, b"", check, time_ms, event.visibility.code, kind, event.type, data, id is not None)
    body = format.body(event.channel, entry)
    return format.without_id(body) if id is None else format.with_id(body, id)


def letter_line(letter: DeadLetter, **more: str) -> bytes:
    """A dead letter as one line of JSON, with `more` of what became of it."""
    events = [{"type": event.type, "visibility": event.visibility, "data": event.data} for event in letter.events]
    told = {
        "channel": letter.channel, "reason": letter.reason, "error": letter.error, "at": letter.at,
        "uncertain": letter.uncertain, "events": events, **more,
    }  # fmt: skip
    return pydantic_core.to_json(told) + b"\n"


def kept_words(replay_size: int, replay_seconds: float) -> str:
    """A retention in words."""
    if not replay_size:
        return "no entries: replay is off"
    return f"{replay_size} entries, for {replay_seconds:g} s after the last one"


def retention_line(stored: Any) -> bytes:
    """The retention stored under a prefix, as one line of JSON."""
    changed = datetime.fromtimestamp(stored.changed_ms / 1000, UTC) if stored.changed_ms else None
    told = {
        "replay_size": stored.replay_size, "replay_seconds": stored.replay_seconds, "generation": stored.generation,
        "changed": changed, "layout": stored.version.decode("ascii", "replace"),
    }  # fmt: skip
    return pydantic_core.to_json(told) + b"\n"
