"""Newline-delimited JSON: one envelope per line, for programs that read a stream with a JSON parser.

A source's plain items are lines of their own, without an envelope. An empty line is a heartbeat; readers skip it.
"""

from __future__ import annotations

from typing import ClassVar

from .envelope import EnvelopeFormat


class NDJSON(EnvelopeFormat):
    """Newline-delimited JSON."""

    name: ClassVar[str] = "ndjson"
    content_type: ClassVar[str] = "application/x-ndjson"
    media_types: ClassVar[tuple[str, ...]] = (
        "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
    )  # fmt: skip
    terminator: ClassVar[bytes] = b"\n"
    bare_items: ClassVar[bool] = True


NDJSON_FORMAT = NDJSON()
