"""Ids as clients send them: the positions of all channels of a connection in one opaque string.

    <key>-<epoch>-<offset>-<check>[-e] . <key>-<epoch>-<offset>-<check>[-e] . …

Parts of channels that the stream does not have are ignored, channels without a part begin at the request's start. An
id that is malformed, or in which no part belongs to the stream, is invalid: the reader is told by a gap.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..events import Position, channel_key

MAX_ID_BYTES: Final = 4096  # nginx and gunicorn refuse a header line above 8 kB, which ends an EventSource for good

_PART = re.compile(r"([a-z2-7]{8})-([A-Za-z0-9]{1,16})-(0|[1-9][0-9]{0,15})-([A-Za-z0-9]{1,16})(-e)?", re.ASCII)


def parse_id(text: str) -> dict[str, Position] | None:
    """The positions in an id by channel key; None if it is malformed. Bounded work for any input."""
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
