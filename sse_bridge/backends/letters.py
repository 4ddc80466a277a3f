"""A dead letter: an event that was taken for the spool and could not be published; and its bytes in the broker."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal, Protocol

from ..errors import ForeignRecord
from ..events import TOKEN_BYTES, Entry, Event
from ..records import decode_record, encode_record
from .base import Append, NewEntry

Reason = Literal["full", "expired", "refused", "uncertain"]


@dataclass(frozen=True)
class DeadLetter:
    """One append that will not be tried again by itself.

    Attributes:
        channel: where it was to be published.
        reason: ``full``: the spool had no room; ``expired``: it waited longer than ``spool_max_seconds``; ``refused``: the
            broker will never take it (a closed channel); ``uncertain``: the log cannot prove whether it was stored.
        error: the last thing the broker, or the way to it, said.
        at_ms: when it died, milliseconds since 1970 by this process's clock.
        unknown_ms: when the first attempt was made whose fate is unknown, by the same clock; None if each of them failed.
    """

    channel: str
    reason: Reason
    error: str
    at_ms: int
    unknown_ms: int | None
    batch: Append = field(repr=False)

    @property
    def events(self) -> list[Event]:
        """What was published: one event, or those of one channel in a ``publish_many``."""
        return [
            Event.of(self.channel, _entry(each, self.at_ms, not self.batch.ephemeral), None, None)
            for each in self.batch.entries
        ]

    @property
    def uncertain(self) -> bool:
        """It may have been published."""
        return self.unknown_ms is not None

    @property
    def at(self) -> datetime:
        """When it died, in UTC."""
        return datetime.fromtimestamp(self.at_ms / 1000, timezone.utc)

    @property
    def name(self) -> bytes:
        """The nonce of its last event: the same however often it is stored."""
        return self.batch.entries[-1].check


def _entry(new: NewEntry, time_ms: int, stored: bool) -> Entry:
    return decode_record(b"0", encode_record(0, b"0", new.check, time_ms, new.head, new.data, stored))


def encode_letter(letter: DeadLetter) -> bytes:
    batch = letter.batch
    return json.dumps(
        {
            "version": 1,
            "channel": letter.channel,
            "reason": letter.reason,
            "error": letter.error,
            "at_ms": letter.at_ms,
            "unknown_ms": letter.unknown_ms,
            "close": batch.close,
            "key": batch.idempotency_key,
            "entries": [
                [each.check.decode(), each.head.decode(), base64.b64encode(each.data).decode()]
                for each in batch.entries
            ],
        }
    ).encode()


def decode_letter(data: bytes) -> DeadLetter:
    """Raises `ForeignRecord` for anything this version did not write."""
    try:
        told = json.loads(data)
        if told["version"] != 1:
            raise ValueError("unknown version")
        entries = tuple(
            NewEntry(check.encode(), head.encode(), base64.b64decode(text, validate=True))
            for check, head, text in told["entries"]
        )
        if any(len(entry.check) != TOKEN_BYTES for entry in entries):
            raise ValueError("a check has another length")  # the log keeps them in columns
        batch = Append(told["channel"], entries, close=told["close"], idempotency_key=told["key"])
        letter = DeadLetter(told["channel"], told["reason"], told["error"], told["at_ms"], told["unknown_ms"], batch)
        letter.events  # noqa: B018 - a letter that cannot be shown is no letter
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ForeignRecord(f"expected a dead letter of version 1, got {data[:80]!r}: {error}") from None
    return letter


class LetterBox(Protocol):
    """Where a broker keeps dead letters, so that other processes see them; a backend may have one as `letter_box`.

    Sync only: letters are looked at by people, not on the path of an event.
    """

    def put(self, letters: list[bytes]) -> None:
        """Adds letters; one may come twice, after a lost reply."""

    def look(self, limit: int) -> list[bytes]:
        """The oldest ones."""

    def remove(self, letters: list[bytes]) -> None:
        """Takes letters out, every copy."""
