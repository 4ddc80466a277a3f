"""The stored record and the announcement: entries to bytes and back. Pure; the append script makes the same bytes.

A record keeps its header apart from its data, so that nobody parses data to route, filter or replay it::

    1 <offset> <prev> <ms> <check> <visibility><kind> <type>\\n<data>

``1`` is the version of a stored entry; ``~`` marks an ephemeral one, whose offset and prev are those of the head it
follows. ``prev`` is the check of the entry before it (``0`` for the first of an epoch), ``ms`` the broker's clock in
milliseconds, ``visibility`` one letter (u, m, l, i), ``kind`` J for JSON or T for raw text. Data is the rest. What the
publisher knows stands at the end, in one piece.

An announcement of one entry is its record, for `prev` says which history it continues: no check is drawn twice. The first
entry of an epoch (`prev` is ``0`` in all of them), several at once, and what is too large to travel are announced as::

    <epoch> <top> <length> <length> …\\n<record><record>…
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from .errors import ForeignRecord
from .events import GENESIS, NAME_RULE, Entry, Visibility

_NAME: Final = re.compile(NAME_RULE)
_TOKEN: Final = re.compile(rb"[A-Za-z0-9]{1,16}")


@lru_cache(maxsize=4096)
def record_head(visibility: Visibility, kind: str, type: str) -> bytes:
    """The part of a record's header that the publisher knows: ``uJ order.paid``."""
    return f"{visibility.code}{kind} {type}".encode("ascii")


def encode_record(
    offset: int, prev: bytes, check: bytes, time_ms: int, head: bytes, data: bytes, stored: bool
) -> bytes:
    """The bytes of one record; the append script makes the same ones on the broker."""
    return b"%b %d %b %d %b %b\n%b" % (b"1" if stored else b"~", offset, prev, time_ms, check, head, data)


def record_of(entry: Entry) -> bytes:
    """The record of an entry: the one that it came as, or one made from its fields."""
    if entry.record is not None:
        return entry.record
    head = f"{entry.visibility}{entry.kind} {entry.type}".encode("ascii")
    return encode_record(entry.offset, entry.prev, entry.check, entry.time_ms, head, entry.data, entry.stored)


# One match per event: it is decoded once per process, and field by field it would need six checks. Of a time of 15
# digits no datetime can be made.
_RECORD: Final = re.compile(
    rb"([1~]) ([0-9]{1,16}) ([A-Za-z0-9]{1,16}) ([0-9]{1,14}) ([A-Za-z0-9]{1,16}) ([umli][JT] [!-~]{1,200})\n"
)


@lru_cache(maxsize=4096)
def _known_head(head: bytes) -> tuple[str, str, str]:
    """Visibility, kind and type: few differ, and one look-up is cheaper than three."""
    text = head.decode("ascii")
    if not _NAME.fullmatch(text, 3):
        raise ValueError("the type breaks the rule")
    return text[0], text[1], text[3:]


@lru_cache(maxsize=4096)
def _known_epoch(epoch: bytes) -> bytes:
    """One object for all entries of an epoch."""
    if not _TOKEN.fullmatch(epoch):
        raise ValueError("the epoch is malformed")
    return epoch


def decode_record(epoch: bytes, record: bytes) -> Entry:
    """One record as an `Entry`; raises `ForeignRecord` for anything this version did not write."""
    head = _RECORD.match(record)
    try:
        if head is None:
            raise ValueError("unknown version or header")
        version, offset, prev, time_ms, check, known = head.groups()
        visibility, kind, type_ = _known_head(known)
        return Entry(
            _known_epoch(epoch), int(offset), prev, check, int(time_ms), visibility, kind, type_, record[head.end() :],
            version == b"1", record,
        )  # fmt: skip
    except ValueError as error:
        raise ForeignRecord(f"expected a record of version 1, got {record[:80]!r}: {error}") from None


def restore(epoch: bytes, record: bytes) -> Entry:
    """The entry of a record that was one before: nothing is checked again."""
    head, _, data = record.partition(b"\n")
    version, offset, prev, time_ms, check, known = head.split(b" ", 5)
    visibility, kind, type_ = _known_head(known)
    return Entry(
        epoch, int(offset), prev, check, int(time_ms), visibility, kind, type_, data, version == b"1", record
    )  # fmt: skip


def head_fields(record: bytes) -> list[bytes]:
    """Version, offset, prev, time, check, and what begins with the visibility; of a record that was checked before.

    Copies no data, which may be long: up to there a head has 69 bytes at most.
    """
    return record[:69].split(b" ", 5)


class Announcement:
    """What a live message says of a channel: the new entries, or only how far the log has come.

    Attributes:
        epoch: the epoch of the log after the append; None: that of the entry before, and the entries' own is empty yet.
        top: the highest offset after the append.
        entries: the new entries in order; empty when they were too large to travel (read the log then).
    """

    __slots__ = ("entries", "epoch", "top")

    def __init__(self, epoch: bytes | None, top: int, entries: list[Entry]) -> None:
        self.epoch = epoch
        self.top = top
        self.entries = entries


def decode_announcement(payload: bytes) -> Announcement:
    """Reads an announcement; raises `ForeignRecord`."""
    try:
        record = _RECORD.match(payload)
        if record is not None:  # the common case, one event
            version, offset, prev, time_ms, check, known = record.groups()
            if prev == GENESIS:
                raise ValueError("the first entry of an epoch does not say of which")
            visibility, kind, type_ = _known_head(known)
            entry = Entry(
                b"", int(offset), prev, check, int(time_ms), visibility, kind, type_, payload[record.end() :],
                version == b"1", payload,
            )  # fmt: skip
            return Announcement(None, entry.offset, [entry])
        head, newline, rest = payload.partition(b"\n")
        epoch, top, *lengths = head.split(b" ")
        if not (newline and top.isdigit() and len(top) <= 16):
            raise ValueError("the head is malformed")
        epoch = _known_epoch(epoch)
        entries = []
        start = 0
        for length in lengths:
            end = start + int(length)
            entries.append(decode_record(epoch, rest[start:end]))
            start = end
        return Announcement(epoch, int(top), entries)
    except ValueError as error:
        raise ForeignRecord(f"expected an announcement, got {payload[:80]!r}: {error}") from None
