"""What a reader asks for, checked: its channels, where it begins, what it wants to see, and how slow it may be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from ..config import Policy, Settings
from ..errors import InvalidChannel, InvalidInput, InvalidPosition, TooManyChannels
from ..events import Position, channel_key, check_channel
from ..filters import Filter
from .cursor import Start
from .ids import positions_for


@dataclass(frozen=True, slots=True)
class Wish:
    """See the module.

    Attributes:
        channels: unique names, in the order of the request.
        start: where channels without a position begin.
        positions: what the reader's id says, per channel.
        invalid: an id came that is malformed or of another stream.
    """

    channels: tuple[str, ...]
    start: Start
    positions: tuple[Position | None, ...]
    invalid: bool
    filter: Filter | None
    policy: Policy
    queue_size: int


def make_wish(
    settings: Settings,
    channels: str | Iterable[str],
    *,
    after: str | Position | None = None,
    last: int | None = None,
    start: str | None = None,
    filter: Filter | None = None,
    policy: Policy | None = None,
    queue_size: int | None = None,
) -> Wish:
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
    _check_options(filter, policy, queue_size)
    names = [channels] if isinstance(channels, str) else list(channels)
    unique = tuple(dict.fromkeys(check_channel(name) for name in names))
    if not unique:
        raise InvalidChannel("a stream needs at least one channel, got none")
    if len(unique) > settings.max_channels:
        raise TooManyChannels(f"a stream has at most max_channels={settings.max_channels} channels, got {len(unique)}")
    if len({channel_key(name) for name in unique}) < len(unique):
        raise InvalidChannel(f"two of these channels have the same short key in ids; use two streams: {unique!r:.300}")
    if isinstance(after, Position):
        after = str(after)
    if after is not None and not isinstance(after, str):
        raise InvalidPosition(f"after= must be an id, a Position, 'earliest' or 'now', got {after!r:.100}")
    if after in ("earliest", "now"):
        start, after = start or after, None
    positions, invalid = positions_for(unique, after)
    return Wish(
        unique, _start(start, last), tuple(positions), invalid, filter,
        policy or settings.policy, queue_size or settings.queue_size,
    )  # fmt: skip


def _check_options(filter: Any, policy: Any, queue_size: Any) -> None:
    if filter is not None and not isinstance(filter, Filter):
        raise InvalidInput(
            f"filter= must be a Filter such as ByType('order.*') or Where(function), got {filter!r:.100}"
        )
    if policy is not None and policy not in get_args(Policy):
        raise InvalidInput(f"policy= must be one of {', '.join(get_args(Policy))}; got {policy!r:.100}")
    if queue_size is not None and (not isinstance(queue_size, int) or queue_size < 1):
        raise InvalidInput(f"queue_size= must be a whole number of entries from 1, got {queue_size!r:.100}")


def _start(start: str | None, last: int | None) -> Start:
    if last is not None:
        if not isinstance(last, int) or last < 0:
            raise InvalidPosition(f"last= must be a whole number from 0, got {last!r:.100}")
        return Start("last", last) if last else Start("now")
    if start in (None, "now"):
        return Start("now")
    if start == "earliest":
        return Start("earliest")
    raise InvalidPosition(f"start= must be 'earliest' or 'now', got {start!r:.100}")
