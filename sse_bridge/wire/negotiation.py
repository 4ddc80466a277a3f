"""Which format a client gets: by name, or by its Accept header (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ..errors import NotAcceptable
from .base import Format

_RANGE: Final = re.compile(r"\*/\*|[\w!#$%&'+.^`|~-]+/(?:\*|[\w!#$%&'+.^`|~-]+)", re.ASCII)
_QUALITY: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def negotiate(formats: Sequence[Format], name: str | None = None, accept: str | None = None) -> Format:
    """The format to answer in.

    Args:
        formats: what this stream offers; the first is the default and wins a tie.
        name: an explicit choice; it overrules `accept`.
        accept: the Accept header, several lines joined by commas; None or empty accepts everything.

    The highest quality wins, then the more specific range (whoever names a type wants it more than what ``*/*``
    brings), then the order of `formats`. Members that are malformed are ignored, and a header of nothing else counts
    as none.

    Raises:
        NotAcceptable: `name` is not offered, or nothing offered is acceptable.
    """
    if name is not None:
        for each in formats:
            if each.name == name:
                return each
        names = ", ".join(each.name for each in formats)
        raise NotAcceptable(f"this stream offers the formats {names}; got {name!r:.80}")
    ranges = _ranges(accept or "")
    if not ranges:
        return formats[0]
    best: Format | None = None
    best_rank = (0.0, 0)
    for each in formats:
        rank = max((_rank(media_type, ranges) for media_type in each.media_types), default=(0.0, 0))
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = each, rank
    if best is None:
        offered = ", ".join(each.media_types[0] for each in formats if each.media_types)
        raise NotAcceptable(f"this stream offers {offered}; the Accept header was {accept!r:.200}")
    return best


@lru_cache(maxsize=64)  # clients send few, and thousands of them the same at once
def _ranges(accept: str) -> dict[str, float]:
    """The qualities by media range; parameters other than q are ignored, for no format here has variants."""
    ranges: dict[str, float] = {}
    for member in accept.split(","):
        media_range, *parameters = (part.strip() for part in member.split(";"))
        if not _RANGE.fullmatch(media_range):
            continue
        quality = "1"
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                quality = value.strip()
        if _QUALITY.fullmatch(quality):
            ranges[media_range.lower()] = float(quality)
    return ranges


def _rank(media_type: str, ranges: dict[str, float]) -> tuple[float, int]:
    """Quality and specificity of the most specific range that matches; quality 0: not acceptable."""
    main_type = media_type.partition("/")[0]
    for specificity, media_range in ((2, media_type), (1, f"{main_type}/*"), (0, "*/*")):
        if media_range in ranges:
            return ranges[media_range], specificity
    return 0.0, 0
