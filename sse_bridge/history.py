"""Reading logs without a stream: a channel's entries as events, and positions to resume from.

`History` decides without I/O which page to read next, and makes its events; `Reading` is the part of the façade that calls
the backend.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from .backends.base import page_of, pages_of
from .config import Settings
from .errors import InvalidInput
from .events import END_TYPE, Entry, Event, Position, channel_key
from .filters import Filter
from .follow.batch import ENTRY, GAP, Delivery
from .follow.subscribe_request import make_request
from .part import Part
from .records.codec import id_part
from .records.continuity import (
    DIVERGED,
    INVALID,
    Gap,
    Page,
    Point,
    ReadRequest,
    before,
    beginning,
    follows,
    in_life,
    judge,
)
from .subscription import event_of

MAX_HISTORY: Final = 10_000
MAX_HISTORY_BYTES: Final = 64 * 2**20  # of the events that one call returns

T = TypeVar("T")


class History:
    """One call of `Bridge.history`: read `request` and `take` the page until `request` is None.

    Without a filter one page is enough. With one, pages follow until `limit` events are found, or the newest entry at the
    call's beginning is reached, so that a busy channel cannot prolong the call for ever.
    """

    def __init__(
        self, settings: Settings, channel: str, after: str | Position | None, limit: int, filter: Filter | None
    ) -> None:
        if not isinstance(limit, int) or not 1 <= limit <= MAX_HISTORY:
            raise InvalidInput(f"limit must be a whole number from 1 to {MAX_HISTORY}, got {limit!r:.100}")
        request = make_request(settings, channel, after=after, start="earliest", filter=filter)
        position = request.positions[0]
        self.events: list[Event] = []
        self._channel = request.channels[0]
        self._key = channel_key(self._channel)
        self._filter = filter
        self._left = limit
        self._bytes_left = MAX_HISTORY_BYTES
        self._invalid = request.invalid
        self._until: int | None = None
        self._point: Point | Entry | None = None
        if position is not None:
            self._point = Point(position.epoch.encode(), position.offset, position.check.encode())
        self.request: ReadRequest | None = self._next()

    def take(self, page: Page) -> None:
        """Takes the page read by `request`."""
        gap, index = self._judged(page)
        if self._until is None:
            self._until = page.top
        read = page.entries[index:]
        for entry in read:
            if self._point is not None and gap is None and not follows(entry, in_life(self._point, entry.epoch)):
                gap = Gap(DIVERGED, None, before(entry))  # a foreign record's hole
            if gap is not None:
                self._tell(gap)
                gap = None
            self._point = entry
            if self._filter is None or entry.type == END_TYPE or self._filter.matches(self._channel, entry):
                self._add(Delivery(ENTRY, self._channel, entry, None, id_part(self._key, entry, entry.is_end)))
                self._left -= 1
                self._bytes_left -= len(entry.data)
                if not self._left or self._bytes_left <= 0:
                    self.request = None
                    return
        if gap is not None:
            self._tell(gap)
        more = page.more and read and self._filter is not None and read[-1].offset < self._until
        self.request = self._next() if more else None

    def _judged(self, page: Page) -> tuple[Gap | None, int]:
        if self._point is None:
            invalid, self._invalid = self._invalid, False
            return (Gap(INVALID, None, beginning(page)) if invalid else None), 0
        verdict = judge(self._point, page)
        if verdict is None:
            return None, 0
        if verdict.gap is not None:
            self._until = page.top  # the log may have begun another epoch
        return verdict.gap, verdict.index

    def _next(self) -> ReadRequest:
        epoch, offset = (None, 0) if self._point is None else (self._point.epoch, self._point.offset)
        if self._filter is None:
            return ReadRequest(self._channel, epoch, offset, self._left, MAX_HISTORY_BYTES)
        return ReadRequest(self._channel, epoch, offset)

    def _tell(self, gap: Gap) -> None:
        self._add(Delivery(GAP, self._channel, None, gap, id_part(self._key, gap.after, False)))

    def _add(self, delivery: Delivery) -> None:
        event = event_of(delivery)
        assert event is not None
        self.events.append(event)


def head_requests(settings: Settings, channels: str | Iterable[str]) -> list[ReadRequest]:
    """The reads of the heads of these channels; raises as `make_request` for invalid names."""
    return [ReadRequest(channel, limit=0) for channel in make_request(settings, channels).channels]


def id_of_heads(requests: Sequence[ReadRequest], pages: Sequence[Page]) -> str:
    """The id behind the last entries of these logs, with closed channels marked as ended."""
    parts = [
        id_part(channel_key(request.channel), page.head, page.closed)
        for request, page in zip(requests, pages, strict=True)
    ]
    return b".".join(parts).decode()


def _forget(state: Any) -> None:
    """Closes a coroutine that is not awaited, so that Python does not warn besides the error."""
    if inspect.iscoroutine(state):
        state.close()


class Reading(Part):
    """Methods of `Bridge`."""

    def history(
        self, channel: str, *, after: str | Position | None = None, limit: int = 100, filter: Filter | None = None
    ) -> list[Event]:
        """The retained events of a channel after a position, oldest first.

        Args:
            after: an id or `Position`; None: from the oldest.
            limit: 1 to 10,000.
            filter: the wanted events; every visibility if omitted, since the caller is server code. A stored end always
                passes. The log is read in pages until `limit` events were found.

        Returns:
            At most `limit` events and 64 MiB of data, after a ``stream.gap`` event if `after` lies before the retained log.

        Raises:
            InvalidInput: a name, the position, the limit or the filter breaks a rule.
            BackendUnavailable: the broker did not answer.
            AsyncContextError: this thread runs an event loop; use `ahistory`.
        """
        self._check_sync("history")
        history = History(self.settings, channel, after, limit, filter)
        while history.request is not None:
            history.take(page_of(self.backend.read([history.request])))
        return history.events

    async def ahistory(
        self, channel: str, *, after: str | Position | None = None, limit: int = 100, filter: Filter | None = None
    ) -> list[Event]:
        """The async twin of `history`."""
        self._check_open()
        history = History(self.settings, channel, after, limit, filter)
        while history.request is not None:
            history.take(page_of(await self.backend.aread([history.request])))
        return history.events

    def position(self, channels: str | Iterable[str]) -> str:
        """The id to resume from for a page made now, to pass to ``?after=`` or ``after=``.

        Get the id *before* reading the state that the page shows: later events come over the stream, even those already
        contained in the state. With an id got afterwards, an event in between would be in neither.

            position = bridge.position("orders:42")
            order = Order.objects.get(pk=42)

        Opens no stream and no subscription: one round trip per server, for all channels.

        Args:
            channels: one name or several, at most ``max_channels``, in any order. The stream may follow further ones.

        Returns:
            An id of ``[A-Za-z0-9.-]``, which needs no escaping in HTML, JavaScript or a URL. It covers channels without
            entries, and marks closed ones: a stream of closed channels alone is answered 204.

        Raises:
            InvalidInput: a name breaks the rule, or there are no names or too many.
            BackendUnavailable: the broker did not answer.
            AsyncContextError: this thread runs an event loop; use `aposition`.
        """
        self._check_sync("position")
        requests = head_requests(self.settings, channels)
        return id_of_heads(requests, pages_of(self.backend.read(requests)))

    async def aposition(self, channels: str | Iterable[str]) -> str:
        """The async twin of `position`."""
        self._check_open()
        requests = head_requests(self.settings, channels)
        return id_of_heads(requests, pages_of(await self.backend.aread(requests)))

    def snapshot(self, channels: str | Iterable[str], load: Callable[[], T]) -> dict[str, Any]:
        """A state, with the position got before it, for a JSON answer.

            return JsonResponse(bridge.snapshot("orders:42", lambda: model_to_dict(Order.objects.get(pk=42))))

        Args:
            channels: as for `position`.
            load: reads the state; called once on this thread, after the position is known; its exceptions pass through.

        Returns:
            ``{"position": <id>, "data": <what load returned>}``.

        Raises:
            InvalidInput: `load` is no function, or must be awaited; besides the errors of `position`.
        """
        if not callable(load):
            raise InvalidInput(f"load must be a function that reads the state, got {load!r:.100}")
        position = self.position(channels)
        state = load()
        if inspect.isawaitable(state):
            _forget(state)
            raise InvalidInput(
                f"load must return the state, got {state!r:.100}; asnapshot(channels, load) takes coroutine functions"
            )
        return {"position": position, "data": state}

    async def asnapshot(self, channels: str | Iterable[str], load: Callable[[], Awaitable[T]]) -> dict[str, Any]:
        """The async twin of `snapshot`; `load` is a coroutine function."""
        if not callable(load):
            _forget(load)
            raise InvalidInput(
                f"load must be a coroutine function, which is called when the position is known, got {load!r:.100}; "
                "pass load itself, not load()"
            )
        position = await self.aposition(channels)
        state = load()
        if not inspect.isawaitable(state):
            raise InvalidInput(f"load must be a coroutine function, got one that returned {state!r:.100}")
        return {"position": position, "data": await state}
