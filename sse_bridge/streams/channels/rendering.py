"""Batches to bytes. A batch is rendered once per format for all of its readers; an entry's body likewise."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ...events import Entry
from ...follow.batch import END, GAP, Batch, Delivery
from ...wire import Format


def payload(format: Format, batch: Batch) -> bytes:
    """All deliveries of a batch as one piece of bytes, shared by the batch's readers."""
    rendered = batch.payloads.get(format.name)
    if rendered is None:
        frames = [frame(delivery, format) for delivery in batch.deliveries]
        rendered = batch.payloads[format.name] = frames[0] if len(frames) == 1 else b"".join(frames)
    return rendered


def messages(batch: Batch, format: Format) -> list[bytes]:
    """One piece per delivery, for formats whose frames are separate messages."""
    return [frame(delivery, format) for delivery in batch.deliveries]


def frame(delivery: Delivery, format: Format) -> bytes:
    """The whole frame of one delivery."""
    if delivery.entry is not None:
        return entry_frame(format, delivery.channel, delivery.entry, delivery.id)
    if delivery.kind == GAP:
        gap = delivery.gap
        assert gap is not None
        return format.gap(delivery.channel, gap.reason, gap.missed, delivery.id)
    if delivery.kind == END:
        return format.end(delivery.channel, None, delivery.id)
    assert delivery.id is not None
    return format.position(delivery.id)


def entry_frame(format: Format, channel: str, entry: Entry, id: bytes | None) -> bytes:
    """The frame of an entry with the id of the position behind it; None: an ephemeral entry."""
    bodies = entry.bodies
    if bodies is None:
        bodies = entry.bodies = {}
    body = bodies.get(format.name)
    if body is None:
        body = bodies[format.name] = format.body(channel, entry)
    return format.without_id(body) if id is None else format.with_id(body, id)


class Renderer:
    """Makes a group of shared readers's bytes from a batch, or from one live entry.

    Attributes:
        name: the format's; readers of the same name get the same bytes.
    """

    __slots__ = ("_format", "entry", "name")

    def __init__(self, format: Format) -> None:
        self.name = format.name
        self.entry: Callable[[str, Entry, bytes | None], bytes] = functools.partial(entry_frame, format)
        self._format = format

    def batch(self, batch: Batch) -> bytes:
        return payload(self._format, batch)


@functools.lru_cache(maxsize=64)
def renderer(format: Format) -> Renderer:
    """The renderer of a format; cached, since formats are few."""
    return Renderer(format)
