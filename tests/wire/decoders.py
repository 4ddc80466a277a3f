"""Decoders to hold the SSE encoder against: the HTML standard's own algorithm, and the habits of popular SDKs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Received(NamedTuple):
    """An event as a client sees it; `id` is the last event id, which stays from event to event."""

    type: str
    data: str
    id: str


def decode_by_the_standard(stream: bytes) -> list[Received]:
    """HTML standard, 9.2.6 "Interpreting an event stream", sentence by sentence."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _unfinished = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events = []
    data = event_type = last_id = id_buffer = ""
    for line in lines:
        if not line:
            last_id = id_buffer
            if data:
                events.append(Received(event_type or "message", data.removesuffix("\n"), last_id))
            data = event_type = ""
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event_type = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            id_buffer = value
    return events


def decode_like_the_sdks(chunks: Iterable[bytes]) -> list[Received]:
    """As the OpenAI and Anthropic SDKs do: cut at blank lines, then an event for *any* field seen, a kept id included."""
    events = []
    pending = b""
    blocks = []
    for chunk in chunks:
        pending += chunk
        *whole, pending = pending.split(b"\n\n")
        blocks += whole
    assert not pending, "the stream ends inside a frame"
    last_id, retry = "", None
    for block in blocks:
        event, data = "", []
        for raw in block.splitlines():  # of bytes: only CR, LF and CRLF
            field, _, value = raw.decode("utf-8").partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                event = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                last_id = value
            elif field == "retry":
                retry = int(value)
        if event or data or last_id or retry is not None:
            events.append(Received(event or "message", "\n".join(data), last_id))
        retry = None
    return events
