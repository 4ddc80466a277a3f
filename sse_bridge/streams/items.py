"""What a source yields, to frames. No I/O.

    str                                    text, as it is: tokens join to an answer
    bytes, bytearray, memoryview           as they are in the formats text and bytes, elsewhere UTF-8 text
    {"event": …} with "data", "id"         an event; its data is encoded as `publish` does; event None: no type
    Event                                  likewise; one that came from a subscription keeps its id
    anything else                          a plain item: JSON (`Text` and `Json` as everywhere)

A dict is an event only if it has the key ``event`` and no others than these three: rows of a table stay rows.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from ..errors import InvalidInput
from ..events import DEFAULT_TYPE, END_TYPE, Entry, Event, Text, encode_data
from ..filters import PUBLIC, Filter
from ..wire import Format

OPEN_ID: Final = b"stream.open"  # the client has seen the start of a source that cannot be resumed
END_ID: Final = b"stream.end"  # the client has seen its end

_CONTROL: Final = frozenset({"stream.gap", END_TYPE})  # what a subscription may yield besides an application's events
_EVENT_KEYS: Final = frozenset({"event", "data", "id"})
_NO_LIMIT: Final = sys.maxsize  # max_event_bytes protects the log; an item is stored nowhere and already in memory


def item_frame(item: Any, format: Format, filter: Filter) -> bytes:
    """The whole frame of one item; empty if the filter hides it.

    Raises:
        InvalidInput: the item has no JSON form, or a type or an id breaks its rule.
    """
    channel, event_type, id = "", None, None
    visibility = "u"
    if isinstance(item, str):
        kind, data = encode_data(Text(item), _NO_LIMIT)
    elif isinstance(item, (bytes, bytearray, memoryview)):
        # tells: of the formats that carry frames; text and bytes carry only what the source says
        kind, data = "T", bytes(item).decode("utf-8", "replace").encode() if format.tells else bytes(item)
    elif isinstance(item, Event):
        channel, event_type, id, visibility = item.channel, item.type, item.id, item.visibility.code
        if event_type in _CONTROL and isinstance(item.data, Mapping):
            encoded_id = None if id is None else id.encode()
            return format.control(event_type, item.data, channel=channel or None, id=encoded_id)
        kind, data = encode_data(item._payload(), _NO_LIMIT)
    elif isinstance(item, dict) and "event" in item and item.keys() <= _EVENT_KEYS:
        event_type, id = item["event"], item.get("id")
        kind, data = encode_data(item.get("data"), _NO_LIMIT)
    else:
        kind, data = encode_data(item, _NO_LIMIT)
    if (filter is not PUBLIC or visibility != "u") and not _shown(
        filter, channel, event_type or DEFAULT_TYPE, visibility, kind, data
    ):
        return b""
    return format.render(event_type, data, kind, None if id is None else own_id(id))


def own_id(id: Any) -> str:
    """An application's own id as text; raises `InvalidInput` for one that would mean something to us."""
    text = str(id) if isinstance(id, int) else id
    if not isinstance(text, str) or text.encode("utf-8", "replace") in (OPEN_ID, END_ID):
        raise InvalidInput(
            f"the id of an item must be a str or an int other than 'stream.open' and 'stream.end', got {id!r:.120}"
        )
    return text


def _shown(filter: Filter, channel: str, event_type: str, visibility: str, kind: str, data: bytes) -> bool:
    return filter.matches(channel, Entry(b"0", 0, b"0", b"0", 0, visibility, kind, event_type, data, False))
