"""Mixins that let an application's own consumers follow channels.

    class Orders(ChannelFollowerMixin, AsyncJsonWebsocketConsumer):
        async def connect(self):
            await self.accept()
            await self.follow("orders:42", after=last_id)

        async def on_event(self, event):
            await self.send_json({"type": event.type, "data": event.data, "id": event.id})

Events come through the consumer's own dispatch loop: `on_event` never runs at the same time as another handler, and its
exceptions end the consumer as in any handler. Subscriptions are closed when the consumer ends in any way. A running handler
blocks all others of its consumer, so a handler should send and return, not wait for a client.

The sync twin uses the event loop of its consumer, not the hub of threads: a waiting connection holds no thread, and
`on_event` runs where Channels runs sync handlers (by default one thread per process).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

from channels.consumer import AsyncConsumer, SyncConsumer

from sse_bridge import Bridge, Event, Filter, Position, get_bridge
from sse_bridge.config import Policy
from sse_bridge.errors import AsyncContextError, ConfigurationError
from sse_bridge.filters import for_browsers
from sse_bridge.streams import contained, failure_in_task

from .access import Message, Receive, Scope, Send
from .inbox import EVENTS, ROOM, Inbox


class _Follower:
    """The base of both mixins.

    Attributes:
        bridge: the channels' bridge; the default one (`sse_bridge.get_bridge`) if None.
    """

    bridge: Bridge | None = None
    _inbox: Inbox | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if issubclass(cls, AsyncConsumer):
            if cls.__call__ is not _Follower.__call__:
                raise ConfigurationError(f"in the bases of {cls.__name__} the follower mixin must come first")
            if issubclass(cls, SyncConsumer) is not issubclass(cls, SyncChannelFollowerMixin):
                raise ConfigurationError(
                    f"{cls.__name__}: ChannelFollowerMixin is for async consumers, SyncChannelFollowerMixin for sync ones"
                )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._inbox = Inbox(receive)
        try:
            await super().__call__(scope, self._inbox.receive, send)  # type: ignore[misc]  # Channels' consumer
        finally:
            await self._inbox.close()

    @property
    def followed(self) -> tuple[str, ...]:
        """The channels followed now."""
        return tuple(self._inbox.followed) if self._inbox is not None else ()

    async def _follow(self, channels: tuple[str, ...], filter: Filter | None, options: dict[str, Any]) -> None:
        inbox = self._open_inbox()
        bridge = self.bridge if self.bridge is not None else get_bridge()
        options["filter"] = for_browsers(filter)
        outcomes = await asyncio.gather(
            *(inbox.follow(bridge, channel, **options) for channel in channels), return_exceptions=True
        )
        for error in outcomes:
            if error is not None:
                await self._unfollow(channels)
                raise error

    async def _unfollow(self, channels: tuple[str, ...]) -> None:
        for channel in channels:
            await self._open_inbox().unfollow(channel)

    def _items(self) -> Iterator[tuple[str, Event | Exception]]:
        """Items to handle in one turn, until the client has sent a message."""
        inbox = self._open_inbox()
        for _ in range(ROOM):
            found = inbox.next_item()
            if found is None:
                return
            yield found
            if inbox.client_waits:
                return

    def _open_inbox(self) -> Inbox:
        if self._inbox is None:
            raise ConfigurationError(f"{type(self).__name__} can follow channels only while it serves a connection")
        return self._inbox


class ChannelFollowerMixin(_Follower):
    """For AsyncConsumer, AsyncWebsocketConsumer, AsyncJsonWebsocketConsumer and subclasses; first of the bases.

    Not for AsyncHttpConsumer, which dispatches nothing while its ``handle()`` runs: use `EventStreamConsumer`.
    """

    async def follow(
        self,
        *channels: str,
        after: str | Position | None = None,
        last: int | None = None,
        filter: Filter | None = None,
        policy: Policy | None = None,
        queue_size: int | None = None,
    ) -> None:
        """Follows channels, resubscribing those followed already; no event published after the return is missed.

        Each channel is a subscription of its own, so an event's id is its channel's; an `after` with parts of several
        channels serves all of them. Lost events come as ``stream.gap``, a channel's end as ``stream.end``.

        Args:
            channels: names; the handler decides whether its client may follow them.
            after: an id or `Position` to resume after, ``"earliest"``, or ``"now"`` (default).
            last: begin with the last so many events instead.
            filter: the wanted events; those not for browsers are hidden unless it names visibilities.
            policy, queue_size: as in `Bridge.subscribe`.

        Raises:
            InvalidInput: a name or the position breaks a rule.
            BackendUnavailable: the broker did not confirm in time; then none of `channels` is followed.
        """
        options = {"after": after, "last": last, "policy": policy, "queue_size": queue_size}
        await self._follow(channels, filter, options)

    async def unfollow(self, *channels: str) -> None:
        """Stops following channels, dropping events under way; idempotent."""
        await self._unfollow(channels)

    async def on_event(self, event: Event) -> None:
        """The next event of a followed channel; override it."""
        raise NotImplementedError(f"{type(self).__name__} follows channels, so it needs an on_event(event) method")

    async def on_follow_error(self, channel: str, error: Exception) -> None:
        """Called when a channel's subscription has failed (`SlowReader`, `BridgeClosed`); raises `error` by default."""
        raise error

    async def dispatch(self, message: Message) -> None:
        if message["type"] != EVENTS:
            await super().dispatch(message)  # type: ignore[misc]  # Channels' consumer
            return
        # without Channels' dispatch, which switches to a thread per message to close old database connections
        for channel, item in self._items():
            try:
                if isinstance(item, Event):
                    await self.on_event(item)
                else:
                    await self.on_follow_error(channel, item)
            except BaseException as error:
                failed = failure_in_task(self.on_event, error)
                if failed is None:
                    raise
                raise failed from error


class SyncChannelFollowerMixin(_Follower):
    """For SyncConsumer, WebsocketConsumer, JsonWebsocketConsumer and subclasses; first of the bases."""

    def follow(
        self,
        *channels: str,
        after: str | Position | None = None,
        last: int | None = None,
        filter: Filter | None = None,
        policy: Policy | None = None,
        queue_size: int | None = None,
    ) -> None:
        """The twin of `ChannelFollowerMixin.follow`; call from the consumer's handlers, or any thread without a loop.

        Raises:
            AsyncContextError: this thread runs an event loop.
        """
        options = {"after": after, "last": last, "policy": policy, "queue_size": queue_size}
        self._on_loop("follow", self._follow(channels, filter, options))

    def unfollow(self, *channels: str) -> None:
        """The twin of `ChannelFollowerMixin.unfollow`."""
        self._on_loop("unfollow", self._unfollow(channels))

    def on_event(self, event: Event) -> None:
        """The next event of a followed channel, in Channels' thread for sync handlers; override it."""
        raise NotImplementedError(f"{type(self).__name__} follows channels, so it needs an on_event(event) method")

    def on_follow_error(self, channel: str, error: Exception) -> None:
        """The twin of `ChannelFollowerMixin.on_follow_error`."""
        raise error

    def sse_bridge_events(self, message: Message) -> None:
        """Channels' handler for messages of type `EVENTS`."""
        on_event, on_follow_error = contained(self.on_event), contained(self.on_follow_error)
        for channel, item in self._items():
            if isinstance(item, Event):
                on_event(item)
            else:
                on_follow_error(channel, item)

    def _on_loop(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        if asyncio._get_running_loop() is not None:
            work.close()
            raise AsyncContextError(
                f"{name}() of a sync consumer waits for the event loop, so it must not run on one; "
                "an async consumer has ChannelFollowerMixin"
            )
        asyncio.run_coroutine_threadsafe(work, self._open_inbox().loop).result()
