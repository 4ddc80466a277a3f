"""Batches to bytes. A batch is rendered once per format, however many readers it goes to; an entry's body likewise."""

from __future__ import annotations

from ..follow.follower import END, GAP, Batch, Delivery
from ..wire import Format


def payload(format: Format, batch: Batch) -> bytes:
    """All deliveries of a batch as one piece of bytes; shared by the readers that got this batch."""
    rendered = batch.payloads.get(format.name)
    if rendered is None:
        frames = [frame(delivery, format) for delivery in batch.deliveries]
        rendered = batch.payloads[format.name] = frames[0] if len(frames) == 1 else b"".join(frames)
    return rendered


def messages(batch: Batch, format: Format) -> list[bytes]:
    """One piece per delivery, for formats whose frames are messages of their own."""
    return [frame(delivery, format) for delivery in batch.deliveries]


def frame(delivery: Delivery, format: Format) -> bytes:
    """The whole frame of one delivery."""
    entry = delivery.entry
    if entry is not None:
        bodies = entry.bodies
        if bodies is None:
            bodies = entry.bodies = {}
        body = bodies.get(format.name)
        if body is None:
            body = bodies[format.name] = format.body(delivery.channel, entry)
        return format.without_id(body) if delivery.id is None else format.with_id(body, delivery.id)
    id = delivery.id or b""
    if delivery.kind == GAP:
        gap = delivery.gap
        assert gap is not None
        return format.gap(delivery.channel, gap.reason, gap.missed, id)
    if delivery.kind == END:
        return format.end(delivery.channel, None, id)
    return format.position(id)
