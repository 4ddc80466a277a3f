"""From a caller's arguments to the backend's `Append`, and from its outcome back; no I/O, shared by both colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pydantic_core

from ..backends.base import Append, Appended, NewEntry
from ..config import Settings
from ..encoding import encode_data
from ..errors import InvalidData, InvalidInput, SSEBridgeError
from ..events import (
    DEFAULT_TYPE,
    END_TYPE,
    Event,
    Position,
    Visibility,
    channel_key,
    check_channel,
    check_type,
    new_token,
    new_tokens,
)
from ..records.codec import record_head

Item = Event | tuple[Any, ...]
Result = Position | None | SSEBridgeError


def single(
    settings: Settings,
    channel: str,
    data: Any,
    type: str | None,
    visibility: Visibility | str,
    store: bool,
    idempotency_key: str | None,
) -> Append:
    """The append of one event; raises `InvalidInput`."""
    if idempotency_key is not None and not (isinstance(idempotency_key, str) and 0 < len(idempotency_key) <= 200):
        raise InvalidInput(f"idempotency_key must be a text of 1 to 200 characters, got {idempotency_key!r:.100}")
    try:
        who = visibility if isinstance(visibility, Visibility) else Visibility(visibility)
    except ValueError:
        known = ", ".join(each.value for each in Visibility)
        raise InvalidInput(f"visibility must be one of {known}; got {visibility!r:.80}") from None
    ephemeral = not store or who is Visibility.LIVE_UI_ONLY
    if ephemeral and idempotency_key is not None:
        raise InvalidInput("idempotency_key needs a stored event, got store=False or live_ui_only")
    entry = _entry(settings, new_token(), data, type, who)
    return Append(check_channel(channel), (entry,), ephemeral, False, idempotency_key)


def closing(channel: str, reason: str) -> Append:
    """The append of a channel's end."""
    if not isinstance(reason, str) or len(reason) > 200:
        raise InvalidData(f"reason must be a text of at most 200 characters, got {reason!r:.100}")
    data = pydantic_core.to_json({"channel": channel, "reason": reason})
    entry = NewEntry(new_token(), record_head(Visibility.USER_FACING, "J", END_TYPE), data)
    return Append(check_channel(channel), (entry,), close=True)


def position_of(batch: Append, appended: Appended) -> Position | None:
    """The position of the (last) entry; None for an ephemeral or a spooled one."""
    if batch.ephemeral or appended.spooled:
        return None
    key = channel_key(batch.channel).decode()
    return Position(key, appended.epoch.decode(), appended.last, appended.check.decode(), batch.close)


class Bundle(NamedTuple):
    """The items of one channel, by their `indexes` in a `publish_many`: all of them are appended, or none."""

    indexes: Sequence[int]
    batch: Append


class Many:
    """A `publish_many` under way: bundles to append, and one result per item.

    Ephemeral items go in bundles of their own, after the stored ones of their channel that came before them.
    """

    def __init__(self, settings: Settings, items: Iterable[Item]) -> None:
        listed = list(items)
        self.results: list[Result] = [None] * len(listed)
        self.bundles: list[Bundle] = []
        if not listed:
            return
        groups: dict[str, list[tuple[int, NewEntry, bool]]] = {}
        failed: dict[str, tuple[int, InvalidInput]] = {}
        for index, (item, token) in enumerate(zip(listed, new_tokens(len(listed)), strict=True)):
            channel = ""
            try:
                channel, data, type, visibility = _fields(item)
                channel = check_channel(channel)
                entry = _entry(settings, token, data, type, visibility)
                groups.setdefault(channel, []).append((index, entry, visibility is Visibility.LIVE_UI_ONLY))
            except InvalidInput as error:
                self.results[index] = error
                if isinstance(channel, str):  # no item can share a channel that is not a str
                    groups.setdefault(channel, [])
                    failed.setdefault(channel, (index, error))
        for channel, members in groups.items():
            if channel in failed:
                culprit, cause = failed[channel]
                for index, _, _ in members:
                    self.results[index] = InvalidInput(
                        f"not published: item {culprit} of the same channel {channel!r} is invalid ({cause})"
                    )
            else:
                self._bundle(channel, members)

    @property
    def batches(self) -> list[Append]:
        return [bundle.batch for bundle in self.bundles]

    def settle(self, outcomes: Sequence[Appended | BaseException]) -> list[Result]:
        """The results per item, given an outcome per batch; raises outcomes that are not `SSEBridgeError`s."""
        for bundle, outcome in zip(self.bundles, outcomes, strict=True):
            if isinstance(outcome, Appended):
                self._stored(bundle, outcome)
            elif isinstance(outcome, SSEBridgeError):
                for index in bundle.indexes:
                    self.results[index] = outcome
            else:
                raise outcome
        return self.results

    def _stored(self, bundle: Bundle, appended: Appended) -> None:
        batch = bundle.batch
        if batch.ephemeral or appended.spooled:
            return
        key, epoch = channel_key(batch.channel).decode(), appended.epoch.decode()
        first = appended.last - len(batch.entries) + 1
        for place, (index, entry) in enumerate(zip(bundle.indexes, batch.entries, strict=True)):
            self.results[index] = Position(key, epoch, first + place, entry.check.decode())

    def _bundle(self, channel: str, members: list[tuple[int, NewEntry, bool]]) -> None:
        if len(members) == 1:
            index, entry, is_ephemeral = members[0]
            self._add(channel, [index], (entry,), is_ephemeral)
            return
        for ephemeral in (False, True):
            chosen = [(index, entry) for index, entry, is_ephemeral in members if is_ephemeral is ephemeral]
            if chosen:
                indexes, entries = zip(*chosen, strict=True)
                self._add(channel, indexes, entries, ephemeral)

    def _add(self, channel: str, indexes: Sequence[int], entries: tuple[NewEntry, ...], ephemeral: bool) -> None:
        self.bundles.append(Bundle(indexes, Append(channel, entries, ephemeral)))


def _fields(item: Item) -> tuple[str, Any, str | None, Visibility]:
    if isinstance(item, Event):
        return item.channel, item._payload(), item.type, item.visibility
    if isinstance(item, tuple) and len(item) in (2, 3):
        return item[0], item[1], item[2] if len(item) == 3 else None, Visibility.USER_FACING
    raise InvalidInput(f"an item must be (channel, data), (channel, data, type) or an Event, got {item!r:.200}")


def _entry(settings: Settings, check: bytes, data: Any, type: str | None, visibility: Visibility) -> NewEntry:
    name = DEFAULT_TYPE if type is None else check_type(type)
    kind, encoded = encode_data(data, settings.max_event_bytes)
    return NewEntry(check, record_head(visibility, kind, name), encoded)
