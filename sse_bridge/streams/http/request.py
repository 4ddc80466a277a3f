"""A client's request: resume id, start and format, read from headers and query the same way by every adapter.

Requests are interned: equal ones are read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

from ...config import Policy
from ...errors import InvalidInput
from ...filters import PUBLIC, Filter, for_browsers
from ...follow.subscribe_request import SubscribeRequest
from ...records.codec import MAX_ID_BYTES
from ..lifecycle.bridge_protocol import BridgeProtocol

MAX_QUERY_CHARACTERS: Final = 65_536  # no server lets more through; an id takes 4 kB, 80 names take 16 kB
INTERNED_CHARACTERS: Final = 1024  # of headers and query, since 256 requests of strangers stay in memory
REPLACED_MARK: Final = ".replaced"  # no part of an id is without a hyphen


@dataclass(frozen=True)
class StreamRequest:
    """See the module.

    Attributes:
        last_event_id: the id to resume after; from the header, else from the query as polyfills write it
            (``?lastEventId=``, ``?Last-Event-ID=``, ``?last_event_id=`` … in any case), else from ``?after=``.
        replaced: the client reconnected with the last id of a stream that a newer one replaced.
        start: ``"earliest"`` or ``"now"`` from ``?after=``, for a first connection.
        last: ``?last=N``: begin with the last N entries.
        channels: ``?channel=a&channel=b`` or ``?channels=a,b``: the client's choice; only mounted routes use it, behind
            their authorize hook.
        format: ``?format=`` (sse, ndjson, text).
        accept, accept_encoding, origin: the headers.
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
            headers: found by names in lower case; values as text (latin-1 or UTF-8, an id is ASCII anyway).
            query: the query string, or its pairs.

        Raises:
            InvalidInput: a value that has no meaning, such as ``?last=x``, but not a bad id, which becomes a gap.
        """
        texts = [headers.get(name) for name in ("last-event-id", "accept", "accept-encoding", "origin")]
        if isinstance(query, str) and len(query) + sum([len(text or "") for text in texts]) <= INTERNED_CHARACTERS:
            return _interned(query, *texts)
        return _read(query, *texts)

    def subscribe(
        self,
        bridge: BridgeProtocol,
        channels: str | Iterable[str],
        *,
        filter: Filter | None = None,
        policy: Policy | None = None,
        queue_size: int | None = None,
        start: str | None = None,
        last: int | None = None,
    ) -> SubscribeRequest:
        """The request to follow `channels` from this client's position, with the options of `stream_channels`.

        An adapter makes it before it asks a hook, so that no hook sees invalid names, nor more than the limit.
        """
        if self.start is not None or self.last is not None:
            start, last = self.start, self.last
        return bridge.subscribe_request(
            channels, after=self.last_event_id, start=start, last=last,
            filter=PUBLIC if filter is None else for_browsers(filter), policy=policy, queue_size=queue_size,
        )  # fmt: skip


def _read(query: str | Sequence[tuple[str, str]], *texts: str | None) -> StreamRequest:
    last_event_id, accept, accept_encoding, origin = texts
    values: dict[str, str] = {}
    channels: list[str] = []
    reconnects = ""
    for name, value in query_pairs(query) if isinstance(query, str) else query:
        if name == "channel":
            channels.append(value)
        elif name == "channels":
            channels.extend(part for part in value.split(",") if part)
        elif _is_last_event_id(name):
            # A polyfill adds its id at a reconnect, so the id is newer than an ``after`` in the address.
            reconnects = value or reconnects
        else:
            values.setdefault(name, value)
    after, start = values.get("after"), None
    if after in ("earliest", "now"):
        after, start = None, after
    reconnects = last_event_id or reconnects
    # The mark counts in a reconnect's id only: in ``?after=`` a new connection asks for the stream again.
    resumed = (reconnects or after or "").removesuffix(REPLACED_MARK)
    return StreamRequest(
        last_event_id=resumed[: MAX_ID_BYTES + 1] or None,  # one more than allowed shows that it is malformed
        replaced=reconnects.endswith(REPLACED_MARK),
        start=start,
        last=_count(values["last"]) if "last" in values else None,
        channels=tuple(channels),
        format=values.get("format"),
        accept=accept,
        accept_encoding=accept_encoding,
        origin=origin,
    )


_interned = lru_cache(maxsize=256)(_read)


def lower_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """ASGI's header pairs as text by lower-case name; repeated ones are joined by commas (RFC 9110, 5.3)."""
    headers: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}  # joined once, since each join of a name would copy the earlier ones
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in headers:
            repeated.setdefault(key, [headers[key]]).append(text)
        else:
            headers[key] = text
    for key, texts in repeated.items():
        headers[key] = ", ".join(texts)
    return headers


def query_pairs(query: str) -> list[tuple[str, str]]:
    """The fields of a query string; raises `InvalidInput` for too many characters or fields."""
    if len(query) > MAX_QUERY_CHARACTERS:
        raise InvalidInput(f"a query string has at most {MAX_QUERY_CHARACTERS} characters here, got {len(query)}")
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=200)
    except ValueError as error:  # more than `max_num_fields`
        raise InvalidInput(f"the query string cannot be read: {error}") from None


def _is_last_event_id(name: str) -> bool:
    """Whether a field of the query is the id of a client that cannot send the header, in any of their spellings."""
    return len(name) <= 16 and name.replace("-", "").replace("_", "").lower() == "lasteventid"


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 7):
        raise InvalidInput(f"?last= must be a whole number, got {text!r:.80}")
    return int(text)
