"""A reader's checked request: its channels, its start, its filter, and its policy when slow.

Requests are interned: readers that come back to the same place share one, and it is checked once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, get_args

from ..config import MAX_QUEUE_SIZE, Policy, Settings
from ..errors import InvalidChannel, InvalidInput, InvalidPosition, TooManyChannels
from ..events import Position, channel_key, check_channel
from ..filters import PUBLIC, Filter
from ..records.codec import positions_for
from .start_point import StartPoint

INTERNED_CHARACTERS: Final = 1024  # of names and id: they are strangers' texts, and 256 requests stay
_PLAIN: Final = (str, int, type(None))  # not bool, which equals int, nor an enum's member, which equals its text


@dataclass(frozen=True, slots=True)
class SubscribeRequest:
    """See the module.

    Attributes:
        channels: unique names, in the order of the request.
        start: where channels without a position begin.
        positions: what the reader's id says, per channel.
        invalid: an id came that is malformed or of another stream.
    """

    channels: tuple[str, ...]
    start: StartPoint
    positions: tuple[Position | None, ...]
    invalid: bool
    filter: Filter | None
    policy: Policy
    queue_size: int

    @property
    def says_ended(self) -> bool:
        """Its id says that every channel has ended. The log may know better."""
        return not self.invalid and all(position is not None and position.ended for position in self.positions)


def make_request(
    settings: Settings,
    channels: str | Iterable[str],
    *,
    after: str | Position | None = None,
    last: int | None = None,
    start: str | None = None,
    filter: Filter | None = None,
    policy: Policy | None = None,
    queue_size: int | None = None,
) -> SubscribeRequest:
    """Checks a request.

    Args:
        channels: one name or several.
        after: an id or position to resume after, or ``"earliest"`` or ``"now"``.
        last: begin with the last so many entries (where no position is known).
        start: ``"earliest"`` or ``"now"`` for channels without a position; lets `after` be an id at the same time.

    Raises:
        InvalidChannel, TooManyChannels, InvalidPosition: what the names say.
        InvalidInput: the filter, the policy or the queue_size is none.
    """
    public = filter is None or filter is PUBLIC
    if not public or policy is not None or queue_size is not None:
        _check_options(filter, policy, queue_size)
    names = channels if type(channels) is tuple else _names(channels)
    if isinstance(after, Position):
        after = str(after)
    asked = (names, after, last, start, policy or settings.policy, queue_size or settings.queue_size)
    if (
        public  # a predicate of `Where` would keep what it closes over
        and set(map(type, names)) == {str}
        and all([type(value) in _PLAIN for value in (after, start, last, policy)])
        and sum(map(len, names)) + len(str(after)) <= INTERNED_CHARACTERS
    ):
        return _interned(filter is None, settings.max_channels, *asked)
    return _make(filter, settings.max_channels, *asked)


def _make(
    filter: Filter | None, max_channels: int, names: tuple[str, ...], after: str | None, last: int | None,
    start: str | None, policy: Policy, queue_size: int,
) -> SubscribeRequest:  # fmt: skip
    unique = tuple(dict.fromkeys(check_channel(name) for name in names))
    if not unique:
        raise InvalidChannel("a stream needs at least one channel, got none")
    if len(unique) > max_channels:
        raise TooManyChannels(f"a stream has at most max_channels={max_channels} channels, got {len(unique)}")
    if len({channel_key(name) for name in unique}) < len(unique):
        raise InvalidChannel(f"two of these channels have the same short key in ids; use two streams: {unique!r:.300}")
    if after is not None and not isinstance(after, str):
        raise InvalidPosition(f"after= must be an id, a Position, 'earliest' or 'now', got {after!r:.100}")
    if after in ("earliest", "now"):
        start, after = start or after, None
    positions, invalid = positions_for(unique, after)
    return SubscribeRequest(unique, _start(start, last), tuple(positions), invalid, filter, policy, queue_size)


@lru_cache(maxsize=256)
def _interned(everything: bool, *asked: Any) -> SubscribeRequest:
    return _make(None if everything else PUBLIC, *asked)


def _names(channels: str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(channels, str):
        return (channels,)
    if isinstance(channels, (bytes, bytearray)) or not isinstance(channels, Iterable):
        raise InvalidChannel(f"channels must be a channel's name, or several, got {channels!r:.100}")
    return tuple(channels)


def _check_options(filter: Any, policy: Any, queue_size: Any) -> None:
    if filter is not None and not isinstance(filter, Filter):
        raise InvalidInput(
            f"filter= must be a Filter such as ByType('order.*') or Where(function), got {filter!r:.100}"
        )
    if policy is not None and policy not in get_args(Policy):
        raise InvalidInput(f"policy= must be one of {', '.join(get_args(Policy))}; got {policy!r:.100}")
    if queue_size is not None and not (type(queue_size) is int and 1 <= queue_size <= MAX_QUEUE_SIZE):
        raise InvalidInput(
            f"queue_size= must be a whole number of entries from 1 to {MAX_QUEUE_SIZE}, got {queue_size!r:.100}"
        )


def _start(start: str | None, last: int | None) -> StartPoint:
    if last is not None:
        if type(last) is not int or last < 0:
            raise InvalidPosition(f"last= must be a whole number from 0, got {last!r:.100}")
        return StartPoint("last", last) if last else StartPoint("now")
    if start not in (None, "now", "earliest"):
        raise InvalidPosition(f"start= must be 'earliest' or 'now', got {start!r:.100}")
    return StartPoint("earliest" if start == "earliest" else "now")
