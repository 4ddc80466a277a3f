"""A source's items to frames. No I/O.

    str                                    text, as it is: tokens join to an answer; lazy translations too
    bytes, bytearray, memoryview           as they are in the formats text and bytes, elsewhere UTF-8 text
    {"event": …} with "data", "id"         an event; its data is encoded as `publish` does; event None: no type
    Event                                  likewise; an event of a subscription keeps its id
    anything else                          a plain item: JSON (`Text` and `Json` as everywhere)

A dict is an event only if it has ``event`` and no keys besides these three, so that rows of a table stay rows.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from ...encoding import encode_data, lazy_text
from ...errors import InvalidInput
from ...events import DEFAULT_TYPE, END_TYPE, Entry, Event, Text
from ...filters import PUBLIC, Filter
from ...wire import Format

OPEN_ID: Final = b"stream.open"  # the client has seen the start of a source that cannot be resumed
END_ID: Final = b"stream.end"  # the client has seen its end

_CONTROL: Final = frozenset({"stream.gap", END_TYPE})  # a subscription's own events
_EVENT_KEYS: Final = frozenset({"event", "data", "id"})
_NO_LIMIT: Final = sys.maxsize  # max_event_bytes protects the log, and an item is not stored


def item_frame(item: Any, format: Format, filter: Filter) -> bytes:
    """The whole frame of one item, empty if the filter hides it; raises `InvalidInput` for a bad type, id or data."""
    channel, event_type, id = "", None, None
    visibility = "u"
    if isinstance(item, str):
        kind, data = encode_data(Text(item), _NO_LIMIT)
    elif isinstance(item, (bytes, bytearray, memoryview)):
        kind, data = "T", bytes(item) if format.raw else bytes(item).decode("utf-8", "replace").encode()
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
        text = lazy_text(item)
        kind, data = encode_data(item if text is None else Text(text), _NO_LIMIT)
    if filter is not PUBLIC or visibility != "u":
        entry = Entry(b"0", 0, b"0", b"0", 0, visibility, kind, event_type or DEFAULT_TYPE, data, False)
        if not filter.matches(channel, entry):
            return b""
    return format.render(event_type, data, kind, None if id is None else own_id(id))


def own_id(id: Any) -> str:
    """An application's own id as text; raises `InvalidInput` for `OPEN_ID` and `END_ID`, which are the library's."""
    text = str(int(id)) if isinstance(id, int) else id  # int() turns an enum's member into its number
    if not isinstance(text, str) or text.encode("utf-8", "replace") in (OPEN_ID, END_ID):
        raise InvalidInput(
            f"the id of an item must be a str or an int other than 'stream.open' and 'stream.end', got {id!r:.120}"
        )
    return text
