"""Entries and positions to bytes and back: the stored record, the announcement, and the id. Pure.

The append script makes the same records and announcements. A record keeps its header apart from its data, so that
routing, filters and replay parse no data::

    1 <offset> <prev> <ms> <check> <visibility><kind> <type>\\n<data>

``1`` is the version of a stored entry; ``~`` marks an ephemeral one, whose offset and prev are those of the head it
follows. ``prev`` is the check of the entry before it (``0`` for the first of an epoch), ``ms`` the broker's clock in
milliseconds, ``visibility`` one letter (u, m, l, i), ``kind`` J for JSON or T for raw text. Data is the rest. The
fields known to the publisher stand at the end, in one piece.

An announcement of one entry is its record: `prev` identifies the history, since no check is drawn twice. The first entry
of an epoch (its `prev` is always ``0``), several entries, and those too large to travel are announced as::

    <epoch> <top> <length> <length> …\\n<record><record>…

An id holds the positions of all channels of a connection in one opaque string::

    <key>-<epoch>-<offset>-<check>[-e] . <key>-<epoch>-<offset>-<check>[-e] . …

Parts of channels that the stream does not follow are ignored; channels without a part begin at the request's start. An
id that is malformed, or has no part of this stream's channels, is invalid: the reader gets a gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ..errors import ForeignRecord
from ..events import GENESIS, NAME_RULE, Entry, Position, Visibility, channel_key
from .continuity import Point

MAX_ID_BYTES: Final = 4096  # nginx and gunicorn refuse header lines above 8 kB, which ends an EventSource for good

_NAME: Final = re.compile(NAME_RULE)
_TOKEN: Final = re.compile(rb"[A-Za-z0-9]{1,16}")
_PART: Final = re.compile(r"([a-z2-7]{8})-([A-Za-z0-9]{1,16})-(0|[1-9][0-9]{0,15})-([A-Za-z0-9]{1,16})(-e)?", re.ASCII)


@lru_cache(maxsize=4096)
def record_head(visibility: Visibility, kind: str, type: str) -> bytes:
    """The publisher's part of a record's header: ``uJ order.paid``."""
    return f"{visibility.code}{kind} {type}".encode("ascii")


def encode_record(
    offset: int, prev: bytes, check: bytes, time_ms: int, head: bytes, data: bytes, stored: bool
) -> bytes:
    """The bytes of one record, equal to those that the append script makes on the broker."""
    return b"%b %d %b %d %b %b\n%b" % (b"1" if stored else b"~", offset, prev, time_ms, check, head, data)


def record_of(entry: Entry) -> bytes:
    """The record that an entry was decoded from, else one made from its fields."""
    if entry.record is not None:
        return entry.record
    head = f"{entry.visibility}{entry.kind} {entry.type}".encode("ascii")
    return encode_record(entry.offset, entry.prev, entry.check, entry.time_ms, head, entry.data, entry.stored)


# One match replaces six checks of fields per event; a time has at most 14 digits since datetime takes no 15.
_RECORD: Final = re.compile(
    rb"([1~]) ([0-9]{1,16}) ([A-Za-z0-9]{1,16}) ([0-9]{1,14}) ([A-Za-z0-9]{1,16}) ([umli][JT] [!-~]{1,200})\n"
)


@lru_cache(maxsize=4096)
def _known_head(head: bytes) -> tuple[str, str, str]:
    """Visibility, kind and type; cached, since few heads differ and one look-up is cheaper than three."""
    text = head.decode("ascii")
    if not _NAME.fullmatch(text, 3):
        raise ValueError("the type breaks the rule")
    return text[0], text[1], text[3:]


@lru_cache(maxsize=4096)
def _known_epoch(epoch: bytes) -> bytes:
    """The same bytes object for all entries of an epoch, to save memory."""
    if not _TOKEN.fullmatch(epoch):
        raise ValueError("the epoch is malformed")
    return epoch


def decode_record(epoch: bytes, record: bytes) -> Entry:
    """One record as an `Entry`; raises `ForeignRecord` for anything that this version did not write."""
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
    """The entry of a record that `decode_record` accepted before: nothing is checked again."""
    head, _, data = record.partition(b"\n")
    version, offset, prev, time_ms, check, known = head.split(b" ", 5)
    visibility, kind, type_ = _known_head(known)
    return Entry(
        epoch, int(offset), prev, check, int(time_ms), visibility, kind, type_, data, version == b"1", record
    )  # fmt: skip


def offset_of(record: bytes) -> int:
    """The offset of a record that was checked before."""
    return int(record[:19].split(b" ", 2)[1])


def stored_heads(records: Iterable[bytes]) -> list[list[bytes]]:
    """Version, offset, prev, time, check, and the rest from the visibility on, of the stored ones of checked records.

    Copies no data, which may be long: the visibility stands within the first 69 bytes.
    """
    heads = [record[:69].split(b" ", 5) for record in records]
    return [head for head in heads if head[0] == b"1"]


@dataclass(slots=True, eq=False)
class Announcement:
    """A live message about a channel: the new entries, or only how far the log has come.

    Attributes:
        epoch: the log's epoch after the append; None: that of the entry before, and `Entry.epoch` is still empty.
        top: the highest offset after the append.
        entries: the new entries in order; empty if they were too large to travel, and must be read from the log.
    """

    epoch: bytes | None
    top: int
    entries: list[Entry]


def decode_announcement(payload: bytes) -> Announcement:
    """Decodes an announcement; raises `ForeignRecord`."""
    try:
        record = _RECORD.match(payload)
        if record is not None:  # the common case, one event
            version, offset, prev, time_ms, check, known = record.groups()
            if prev == GENESIS:
                raise ValueError("the first entry of an epoch must come with that epoch")
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


def parse_id(text: str) -> dict[str, Position] | None:
    """The positions in an id by channel key; None if the id is malformed. Bounded work for any input."""
    if not text or len(text) > MAX_ID_BYTES:
        return None
    positions: dict[str, Position] = {}
    for part in text.split("."):
        match = _PART.fullmatch(part)
        if match is None or match[1] in positions:
            return None
        positions[match[1]] = Position(match[1], match[2], int(match[3]), match[4], match[5] is not None)
    return positions


def positions_for(channels: Sequence[str], text: str | None) -> tuple[list[Position | None], bool]:
    """One position (or None) per channel, and whether the id was invalid for this stream."""
    if text is None or text == "":
        return [None] * len(channels), False
    known = parse_id(text)
    found = [None if known is None else known.get(channel_key(channel).decode()) for channel in channels]
    return found, all(position is None for position in found)


def id_part(key: bytes, point: Point | Entry, ended: bool) -> bytes:
    """One channel's part of an id."""
    if ended:
        return b"%b-%b-%d-%b-e" % (key, point.epoch, point.offset, point.check)
    return b"%b-%b-%d-%b" % (key, point.epoch, point.offset, point.check)
