"""One JSON array, for sources that end: clients that parse the whole body at once read it with any JSON parser.

The elements are a source's plain items, or envelopes where it yields typed events. The format stays stateless: the
source's script puts `prefix` before the first frame, `separator` between two and `suffix` after the last, also after
an error. No frame opens or closes the stream: the array holds the source's items only.
"""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from .envelope import EnvelopeFormat


class JSONArray(EnvelopeFormat):
    """A JSON array of finite length."""

    name: ClassVar[str] = "json_array"
    content_type: ClassVar[str] = "application/json"
    media_types: ClassVar[tuple[str, ...]] = ("application/json",)
    prefix: ClassVar[bytes] = b"["
    separator: ClassVar[bytes] = b",\n"
    suffix: ClassVar[bytes] = b"]\n"
    bare_items: ClassVar[bool] = True

    @override
    def position(self, id: bytes) -> bytes:
        return b""

    @override
    def retry(self, retry_ms: int, reason: str | None = None) -> bytes:
        return b""


JSON_ARRAY_FORMAT = JSONArray()
