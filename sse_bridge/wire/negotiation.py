"""The choice of a client's format: by name, or by its Accept header (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ..errors import ConfigurationError, NotAcceptable
from .base import Format
from .sse import SSE_DATA_FORMAT, TYPED_SSE_DATA_FORMAT

_RANGE: Final = re.compile(r"\*/\*|[\w!#$%&'+.^`|~-]+/(?:\*|[\w!#$%&'+.^`|~-]+)", re.ASCII)
MAX_ACCEPT_CHARACTERS: Final = 4096  # browsers send 150; `_best` keeps headers, and one character more, in memory
_QUALITY: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")

_OF_LIBRARIES: Final = ("application/json", "text/plain")


def negotiate(formats: Sequence[Format], name: str | None = None, accept: str | None = None) -> Format:
    """The format to answer in.

    Args:
        formats: the stream's formats; the first is the default and wins a tie.
        name: an explicit choice, which overrules `accept`.
        accept: the Accept header, several lines joined by commas; None or empty accepts everything.

    The highest quality wins, then the more specific range (a client that names a type prefers it to ``*/*``), then the
    order of `formats`. Malformed members are ignored, and a header of nothing else counts as none. Of a longer header
    than `MAX_ACCEPT_CHARACTERS` only the whole members in its first so many characters count.

    ``application/json`` beside ``*/*`` is the default of HTTP libraries (axios: ``application/json, text/plain, */*``)
    and no wish for one array instead of a stream; only the ``*/*`` counts there.

    Raises:
        NotAcceptable: `name` is not offered, or nothing offered is acceptable.
    """
    if name is not None:
        for each in formats:
            if each.name == name:
                return each
        names = ", ".join(each.name for each in formats)
        raise NotAcceptable(f"this stream offers the formats {names}; got {name!r:.80}")
    best = _best(tuple(formats), (accept or "")[: MAX_ACCEPT_CHARACTERS + 1])
    if best is None:
        offered = ", ".join(each.media_types[0] for each in formats if each.media_types)
        raise NotAcceptable(f"this stream offers {offered}; the Accept header was {accept!r:.200}")
    return best


def choose(
    formats: Sequence[Format],
    named: Format | str | None,
    asked: str | None,
    accept: str | None,
    *,
    type_in_data: bool = False,
) -> tuple[Format, bool]:
    """The format of a stream, and whether it was negotiated.

    Args:
        named: the endpoint's own choice, which the client cannot change.
        asked, accept: the client's ``?format=`` and Accept header, where the endpoint names none.
        type_in_data: in ``sse-data``, put the type inside the data.

    Raises:
        NotAcceptable: as `negotiate`.
        ConfigurationError: as `check_named`.
    """
    if named is None:
        chosen = negotiate(formats, asked, accept)
    elif isinstance(named, Format):
        chosen = named
    else:
        check_named(formats, named, type_in_data)
        chosen = negotiate(formats, named)
    if type_in_data and chosen.name == SSE_DATA_FORMAT.name:
        chosen = TYPED_SSE_DATA_FORMAT
    return chosen, named is None


def check_named(formats: Sequence[Format], named: Format | str | None, type_in_data: bool) -> None:
    """Refuses an endpoint's own choice that cannot be served; raises `ConfigurationError`."""
    if named is None or isinstance(named, Format):
        return
    if not any(each.name == named for each in formats):
        names = ", ".join(each.name for each in formats)
        raise ConfigurationError(f"format= must be one of {names}, or None for the client's choice, got {named!r:.80}")
    if type_in_data and named != SSE_DATA_FORMAT.name:
        raise ConfigurationError(f"type_in_data=True is for format='sse-data', got format={named!r}")


def whole_members(header: str) -> str:
    """The members of a comma-separated header that stand whole in its first `MAX_ACCEPT_CHARACTERS`."""
    if len(header) <= MAX_ACCEPT_CHARACTERS:
        return header
    return header[:MAX_ACCEPT_CHARACTERS].rpartition(",")[0]


@lru_cache(maxsize=64)  # thousands of clients send the same few headers
def _best(formats: tuple[Format, ...], accept: str) -> Format | None:
    ranges = _ranges(whole_members(accept))
    if not ranges:
        return formats[0]
    if ranges.get("*/*") and "application/json" in ranges:
        ranges = {each: quality for each, quality in ranges.items() if not quality or each not in _OF_LIBRARIES}
    best: Format | None = None
    best_rank = (0.0, 0)
    for each in formats:
        rank = max((_rank(media_type, ranges) for media_type in each.media_types), default=(0.0, 0))
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = each, rank
    return best


def _ranges(accept: str) -> dict[str, float]:
    """The qualities by media range; parameters other than q are ignored, since no format here has variants."""
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
