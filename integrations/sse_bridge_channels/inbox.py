"""A consumer's messages and its events as one queue, so that Channels dispatches both, one after the other.

Channels' own loop calls `receive` for the next message, and gets the client's, or one that announces events of followed
channels; so a consumer's handlers and its ``on_event`` never run at the same time, and an exception in either ends the
consumer.

`receive` waits for the client's message or for an item; one task per followed channel waits for its subscription, and for
room in the queue. All run on the consumer's loop; only `next_item` may be called from the thread of a sync consumer's
handler.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from sse_bridge import Bridge, Event
from sse_bridge.errors import BackendUnavailable, BridgeClosed

from .access import Message, Receive

EVENTS: Final = "sse_bridge.events"  # a message type, for which Channels calls the handler sse_bridge_events
ROOM: Final = 64  # items ahead of the handlers; later ones wait in the window that all readers share
READY_SECONDS: Final = 5.0  # a stream tries to open for the same time


@dataclass(eq=False)
class Followed:
    """One followed channel."""

    channel: str
    subscription: Any
    task: asyncio.Task[None] | None = None
    active: bool = True  # False once the channel was unfollowed, whose queued items are then dropped


class Inbox:
    """The queue of one consumer; see the module."""

    def __init__(self, receive: Receive) -> None:
        self.followed: dict[str, Followed] = {}
        self.loop = asyncio.get_running_loop()
        self._receive = receive
        self._items: deque[tuple[Followed, Event | Exception]] = deque()
        self._room = asyncio.Event()
        self._client: asyncio.Future[Message] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    # for Channels

    async def receive(self) -> Message:
        """The client's next message, or one that announces items. Safe to cancel."""
        if self._client is None:
            self._client = asyncio.ensure_future(self._receive())
            self._client.add_done_callback(self._wake)
        while not self.client_waits and not self._items:
            self._room.set()
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if not self.client_waits:
            return {"type": EVENTS}
        client, self._client = self._client, None
        return client.result()

    @property
    def client_waits(self) -> bool:
        """Whether the client sent a message, which goes first, so that a flood of events delays no disconnect."""
        return self._client is not None and self._client.done()

    def next_item(self) -> tuple[str, Event | Exception] | None:
        """A channel and its next event, or the error that ended it; None: the queue is empty."""
        while self._items:
            one, item = self._items.popleft()
            if one.active:
                if isinstance(item, Exception) or item.type == "stream.end":
                    one.active = False
                    if self.followed.get(one.channel) is one:
                        del self.followed[one.channel]
                return one.channel, item
        return None

    # for the mixins

    async def follow(self, bridge: Bridge, channel: str, **options: Any) -> None:
        """Follows a channel, resubscribing one followed already; returns when no event can be missed, raises as `follow`."""
        subscription = bridge.asubscribe(channel, **options)
        try:
            ready = await subscription.wait_ready(READY_SECONDS)
            if self._closed:
                raise BridgeClosed(f"cannot follow {channel!r}: this consumer's connection is over")
            if not ready:
                raise BackendUnavailable(f"the broker did not confirm {channel!r} within {READY_SECONDS} s; try again")
            await self.unfollow(channel)
        except BaseException:
            await subscription.aclose()
            raise
        one = self.followed[channel] = Followed(channel, subscription)
        one.task = self.loop.create_task(self._pump(one))

    async def unfollow(self, channel: str) -> None:
        """Stops following a channel and drops its items; idempotent."""
        one = self.followed.pop(channel, None)
        if one is not None and one.task is not None:
            one.active = False
            one.task.cancel()
            await one.subscription.aclose()  # here, since the channel's task may never have started

    async def close(self) -> None:
        """Closes all subscriptions."""
        self._closed = True
        for channel in list(self.followed):
            await self.unfollow(channel)
        if self._client is not None:
            self._client.cancel()
            await asyncio.wait([self._client])

    # inside

    def _wake(self, _: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _pump(self, one: Followed) -> None:
        try:
            async for event in one.subscription:
                while len(self._items) >= ROOM:
                    self._room.clear()
                    await self._room.wait()
                self._put(one, event)
                if event.type == "stream.end":
                    return
        except Exception as error:  # noqa: BLE001  # passed to on_follow_error
            self._put(one, error)
        else:
            self._put(one, BridgeClosed(f"the bridge was closed while {one.channel!r} was followed"))
        finally:
            await one.subscription.aclose()

    def _put(self, one: Followed, item: Event | Exception) -> None:
        self._items.append((one, item))
        self._wake()
