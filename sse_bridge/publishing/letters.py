"""Dead letters: spooled events that could not be published; and their bytes in the broker."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

from ..backends.base import Append, NewEntry
from ..errors import ForeignRecord
from ..events import TOKEN_BYTES, Event
from ..records.codec import decode_record, encode_record

Reason = Literal["full", "expired", "refused", "uncertain"]


@dataclass(frozen=True)
class DeadLetter:
    """One append that will not be tried again by itself.

    Attributes:
        channel: the channel of the append.
        reason: ``full``: the spool had no room; ``expired``: it waited longer than ``spool_max_seconds``; ``refused``:
            the broker will never take it (a closed channel); ``uncertain``: the log cannot prove whether it was stored.
        error: the last error of an attempt.
        at_ms: the time of its death, milliseconds since 1970 by this process's clock.
        unknown_ms: the time of the first attempt whose fate is unknown, by the same clock; None if each one failed.
    """

    channel: str
    reason: Reason
    error: str
    at_ms: int
    unknown_ms: int | None
    batch: Append = field(repr=False)

    @property
    def events(self) -> list[Event]:
        """The events of the append: one, or those of one channel in a ``publish_many``."""
        stored = not self.batch.ephemeral
        records = [
            encode_record(0, b"0", check, self.at_ms, head, data, stored) for check, head, data in self.batch.entries
        ]
        return [Event.of(self.channel, decode_record(b"0", record), None, None) for record in records]

    @property
    def uncertain(self) -> bool:
        """Whether the append may have been stored."""
        return self.unknown_ms is not None

    @property
    def at(self) -> datetime:
        """`at_ms` in UTC."""
        return datetime.fromtimestamp(self.at_ms / 1000, UTC)

    @property
    def name(self) -> bytes:
        """The nonce of its last event, by which copies are recognised."""
        return self.batch.entries[-1].check


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
    """Decodes a letter; raises `ForeignRecord` for anything that this version did not write."""
    try:
        told = json.loads(data)
        if told["version"] != 1:
            raise ValueError("unknown version")
        entries = tuple(
            NewEntry(check.encode(), head.encode(), base64.b64decode(text, validate=True))
            for check, head, text in told["entries"]
        )
        if any(len(entry.check) != TOKEN_BYTES for entry in entries):
            raise ValueError("a check has another length")  # the log keeps checks in columns
        batch = Append(told["channel"], entries, close=told["close"], idempotency_key=told["key"])
        letter = DeadLetter(told["channel"], told["reason"], told["error"], told["at_ms"], told["unknown_ms"], batch)
        letter.events  # noqa: B018 - a letter that cannot be shown is no letter
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ForeignRecord(f"expected a dead letter of version 1, got {data[:80]!r}: {error}") from None
    return letter


class LetterBox(Protocol):
    """A broker's store of dead letters, which other processes see; a backend may have one as `letter_box`.

    Sync only, since people look at letters, and no event waits for them.
    """

    def put(self, letters: list[bytes]) -> None:
        """Adds letters; a letter may come twice, after a lost reply."""

    def look(self, limit: int) -> list[bytes]:
        """The oldest letters, at most `limit`."""

    def remove(self, letters: list[bytes]) -> None:
        """Removes every copy of these letters."""
