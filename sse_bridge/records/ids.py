"""Event ids: the positions of all channels of a connection in one opaque string.

    <key>-<epoch>-<offset>-<check>[-e] . <key>-<epoch>-<offset>-<check>[-e] . …

Parts of channels that the stream does not follow are ignored; channels without a part begin at the request's start. An
id that is malformed, or has no part of this stream's channels, is invalid: the reader gets a gap.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..events import Entry, Position, channel_key
from .continuity import Point

MAX_ID_BYTES: Final = 4096  # nginx and gunicorn refuse header lines above 8 kB, which ends an EventSource for good

_PART = re.compile(r"([a-z2-7]{8})-([A-Za-z0-9]{1,16})-(0|[1-9][0-9]{0,15})-([A-Za-z0-9]{1,16})(-e)?", re.ASCII)


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
