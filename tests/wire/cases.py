"""Entries and events for the tests of the wire: made at random, and hard on purpose."""

from __future__ import annotations

import json
from typing import NamedTuple

from hypothesis import strategies as st

from sse_bridge.encoding import encode_data
from sse_bridge.events import Entry, Json, Text
from sse_bridge.wire import (
    JSON_ARRAY_FORMAT,
    NDJSON_FORMAT,
    SSE_DATA_FORMAT,
    SSE_FORMAT,
    TEXT_FORMAT,
    TYPED_SSE_DATA_FORMAT,
    WEBSOCKET_FORMAT,
)
from sse_bridge.wire.text import BYTES_FORMAT

ALL_FORMATS = (
    SSE_FORMAT, NDJSON_FORMAT, JSON_ARRAY_FORMAT, WEBSOCKET_FORMAT, TEXT_FORMAT, BYTES_FORMAT, SSE_DATA_FORMAT,
    TYPED_SSE_DATA_FORMAT,
)  # fmt: skip
ENVELOPE_FORMATS = (NDJSON_FORMAT, JSON_ARRAY_FORMAT, WEBSOCKET_FORMAT)

# What str.splitlines() splits at and the standard does not, what parsers look for, astral and empty text.
SPECIAL = [
    "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\ufeff", "\0", "\x7f", "😀", "é", "\u0301",
    "\r", "\n", "\r\n", "\n\n", "\r\n\r\n", "\n\r", ":", ": ", " ", "data: ", "\ndata: x", "\nid: 7\n", "\n\nevent: open\n",
    "\nretry: 0\n", '"', "\\", "",
]  # fmt: skip

texts = st.lists(
    st.one_of(st.sampled_from(SPECIAL), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)), max_size=8
).map("".join)
CONTROLS = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))}  # which no id and no comment may hold
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
types = st.one_of(
    st.just("message"), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,20}", fullmatch=True)
).filter(lambda name: name not in ("open", "error") and not name.startswith("stream."))  # fmt: skip
ids = st.from_regex(r"[A-Za-z0-9_.-]{1,60}", fullmatch=True).map(str.encode)


class Case(NamedTuple):
    """An event, whether stored under an id, and with a heartbeat before it or not."""

    type: str
    data: object  # Text, or what JSON can hold
    id: bytes | None
    heartbeat: bool = False

    def entry(self, time_ms: int = 1_790_000_000_000) -> Entry:
        kind, data = encode_data(self.data, 1_000_000)
        return make_entry(self.type, kind, data, time_ms=time_ms, stored=self.id is not None)

    def data_line_text(self) -> str:
        """The data as a client of an event stream gets it: line ends become LF (HTML standard, 9.2.6)."""
        data = self.entry().data.decode()
        return data.replace("\r\n", "\n").replace("\r", "\n")

    def value(self) -> object:
        """The data as a client of a JSON format gets it."""
        return self.data.text if isinstance(self.data, Text) else self.data


cases = st.builds(Case, types, texts.map(Text) | json_values, st.none() | ids, st.booleans())


def make_entry(type: str, kind: str, data: bytes, *, time_ms: int = 1_790_000_000_000, stored: bool = True) -> Entry:
    return Entry(b"EPOCHxxx", 1, b"0", b"CHECKxxx", time_ms, "u", kind, type, data, stored)


def json_entry(value: object, type: str = "message") -> Entry:
    return make_entry(type, *encode_data(Json(json.dumps(value).encode()), 1_000_000))


def text_entry(text: str, type: str = "message") -> Entry:
    return make_entry(type, *encode_data(Text(text), 1_000_000))


@st.composite
def chunked(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The same bytes, cut anywhere: within lines, between CR and LF, within a character."""
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(stream) - 1)), max_size=12)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]
