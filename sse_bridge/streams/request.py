"""What a client asked for: resume id, start and format, read from headers and query the same way by every adapter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from ..errors import InvalidInput
from ..follow.ids import MAX_ID_BYTES

REPLACED_MARK: Final = ".replaced"  # no part of an id is without a hyphen


@dataclass(frozen=True)
class StreamRequest:
    """See the module.

    Attributes:
        last_event_id: the id to resume after; from the header, else from ``?after=``.
        replaced: the header's id is the last one of a stream that a newer one replaced: it came back by itself.
        start: ``"earliest"`` or ``"now"`` from ``?after=``, for a first connection.
        last: ``?last=N``: begin with the last so many entries.
        channels: ``?channel=a&channel=b`` or ``?channels=a,b``: what the client chose; only mounted routes look at it,
            behind their authorize hook.
        format: ``?format=`` (sse, ndjson, text).
        accept: the Accept header.
        accept_encoding: the Accept-Encoding header.
        origin: the Origin header: which page asks, for CORS.
    """

    last_event_id: str | None = None
    replaced: bool = False
    start: str | None = None
    last: int | None = None
    channels: tuple[str, ...] = ()
    format: str | None = None
    accept: str | None = None
    accept_encoding: str | None = None
    origin: str | None = None

    @classmethod
    def from_http(cls, headers: Mapping[str, str], query: str | Sequence[tuple[str, str]] = "") -> StreamRequest:
        """Reads a request.

        Args:
            headers: names in lower case; values as text (latin-1 or UTF-8, an id is ASCII anyway).
            query: the query string, or its pairs.

        Raises:
            InvalidInput: a value that has no meaning, such as ``?last=x``. A bad id is none: it becomes a gap.
        """
        pairs = query_pairs(query) if isinstance(query, str) else query
        values: dict[str, str] = {}
        channels: list[str] = []
        for name, value in pairs:
            if name == "channel":
                channels.append(value)
            elif name == "channels":
                channels.extend(part for part in value.split(",") if part)
            else:
                values.setdefault(name, value)
        after, start = values.get("after"), None
        if after in ("earliest", "now"):
            after, start = None, after
        header = headers.get("last-event-id")
        replaced = header is not None and header.endswith(REPLACED_MARK)
        # in ?after= it was put by somebody who wants the stream back
        last_event_id = (header or after or "").removesuffix(REPLACED_MARK)
        return cls(
            last_event_id=_bounded(last_event_id),
            replaced=replaced,
            start=start,
            last=_count(values.get("last")),
            channels=tuple(channels),
            format=values.get("format"),
            accept=headers.get("accept"),
            accept_encoding=headers.get("accept-encoding"),
            origin=headers.get("origin"),
        )


def lower_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """ASGI's header pairs as text by lower-case name; repeated ones are joined by commas (RFC 9110, 5.3)."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def query_pairs(query: str) -> list[tuple[str, str]]:
    """The fields of a query string; raises `InvalidInput` for more than anyone needs."""
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=200)
    except ValueError as error:  # more fields than anyone needs
        raise InvalidInput(f"the query string cannot be read: {error}") from None


def _bounded(last_event_id: str | None) -> str | None:
    # one that is too long is malformed anyway; nobody needs to carry a megabyte around
    return last_event_id[: MAX_ID_BYTES + 1] if last_event_id else None


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 7):
        raise InvalidInput(f"?last= must be a whole number, got {text!r:.80}")
    return int(text)
