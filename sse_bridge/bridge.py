"""The façade: one class, each waiting method with an a-prefixed async twin.

A bridge is cheap to make: connections, hubs and threads appear at first use, per process (so it survives fork) and per
event loop. Sync methods raise `AsyncContextError` on a thread that runs an event loop, since they would block it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from typing_extensions import Self

from .backends.adapt import both_colours
from .backends.base import Appended, AsyncBackend, Backend, SyncBackend
from .backends.observed import Appends
from .backends.spooling import with_spool
from .backends.urls import make_backend
from .config import Policy, Settings
from .dead_letters import DeadLetters
from .errors import AsyncContextError, BridgeClosed, ChannelClosed, ConfigurationError, PolicyNotSupported
from .events import Event, Position, Visibility
from .filters import Filter
from .follow.page import ReadRequest
from .follow.wish import Wish, make_wish
from .forks import after_fork
from .history import history_events, history_wish
from .hub.loop import LoopHub
from .hub.tally import Tally
from .hub.threads import ThreadHub
from .publication import Item, Many, Result, closing, position_of, single
from .revocation import Revocations
from .streams.registry import Registry
from .streams.signals import drain_at_exit
from .subscription import AsyncSubscription, Subscription
from .tokens import make_token


class Bridge(DeadLetters, Revocations):
    """Publish from anywhere, sync or async; follow channels from anywhere.

    Safe for any number of threads, event loops, greenlets, and across fork.

    Args:
        url: ``memory://``, ``redis://``, ``rediss://``, ``redis+sentinel://`` or ``redis+cluster://``; the setting
            ``url`` if omitted.
        backend: a backend of your own instead (see `sse_bridge.backends.base`); one colour is enough.
        settings: every setting of `sse_bridge.config.Settings`.

    Raises:
        ConfigurationError: an unknown setting or a value out of range.
    """

    def __init__(
        self, url: str | None = None, /, *, backend: SyncBackend | AsyncBackend | None = None, **settings: Any
    ) -> None:
        if url is not None:
            settings["url"] = url
        self._setup(Settings.load(**settings), backend)

    @classmethod
    def from_settings(cls, mapping: Mapping[str, Any], /, **settings: Any) -> Bridge:
        """A bridge from a mapping such as Django's ``SSE_BRIDGE`` (names in any case); keywords win over it."""
        bridge = cls.__new__(cls)
        bridge._setup(Settings.load(mapping, **settings), None)
        return bridge

    def _setup(self, settings: Settings, backend: SyncBackend | AsyncBackend | None) -> None:
        self.settings = settings
        own = both_colours(backend) if backend is not None else make_backend(settings)
        self.backend: Backend = with_spool(own, settings)
        self.appends: Appends = self.backend  # what publishing goes through: observers stand around it
        self.closed = False
        if self.settings.max_streams_per_user and not getattr(self.backend, "can_control", False):
            raise ConfigurationError(
                f"max_streams_per_user={self.settings.max_streams_per_user} needs a backend that keeps leases "
                f"(sse_bridge.backends.admission), and {self.backend.name!r} does not; leave the setting at 0"
            )
        self._begin()

    def _begin(self) -> None:
        self.streams = Registry(self.settings.max_streams)  # a fork does not serve its parent's
        drain_at_exit(self.streams, self.settings.drain_seconds)
        self.tally = Tally()
        self._lock = threading.Lock()
        self._thread_hub: ThreadHub | None = None
        self._loop_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopHub] = weakref.WeakKeyDictionary()
        self._pid = os.getpid()  # last: other threads of a child look at it first

    # publishing

    def publish(
        self,
        channel: str,
        data: Any = None,
        *,
        type: str | None = None,
        visibility: Visibility | str = Visibility.USER_FACING,
        store: bool = True,
        idempotency_key: str | None = None,
    ) -> Position | None:
        """Appends an event to a channel and announces it.

        Args:
            channel: a name matching ``[A-Za-z0-9][A-Za-z0-9_.:@-]{0,199}``.
            data: anything with a JSON form (pydantic models, dataclasses, datetime, UUID, Decimal too), `Json` or `Text`.
            type: the event's type as in the DOM; ``message`` if omitted.
            visibility: who may see it; ``live_ui_only`` is never stored.
            store: False makes an ephemeral event: delivered live only, without an id.
            idempotency_key: within 5 minutes the first event under a key wins, and its position is returned.

        Returns:
            Its position (``str()`` of it is the SSE id on a one-channel stream); None if it is ephemeral, or spooled.

        Raises:
            InvalidInput: a name or the data breaks a rule; nothing was published.
            ChannelClosed: the channel's end is stored.
            BackendUnavailable: nothing was published before the deadline (it is spooled with ``on_unavailable="spool"``).
            PublishUncertain: it may or may not have been published.
            AsyncContextError: this thread runs an event loop; use `apublish`.
        """
        self._check_sync("publish")
        batch = single(self.settings, channel, data, type, visibility, store, idempotency_key)
        return position_of(batch, self.appends.append(batch))

    async def apublish(
        self,
        channel: str,
        data: Any = None,
        *,
        type: str | None = None,
        visibility: Visibility | str = Visibility.USER_FACING,
        store: bool = True,
        idempotency_key: str | None = None,
    ) -> Position | None:
        """The async twin of `publish`. Cancelling it leaves open whether the event was published."""
        self._check_open()
        batch = single(self.settings, channel, data, type, visibility, store, idempotency_key)
        return position_of(batch, await self.appends.aappend(batch))

    def publish_many(self, items: Iterable[Item]) -> list[Result]:
        """Publishes many events in one round trip per server, all or nothing per channel.

        Args:
            items: ``(channel, data)``, ``(channel, data, type)`` or `Event`.

        Returns:
            Per item its position (None if ephemeral or spooled), or the error that kept its channel's items out.
        """
        self._check_sync("publish_many")
        many = Many(self.settings, items)
        return many.settle(self.appends.append_many(many.batches))

    async def apublish_many(self, items: Iterable[Item]) -> list[Result]:
        """The async twin of `publish_many`; channels share round trips."""
        self._check_open()
        many = Many(self.settings, items)
        appends = [self.appends.aappend(batch) for batch in many.batches]
        return many.settle(await asyncio.gather(*appends, return_exceptions=True))

    def close_channel(self, channel: str, reason: str = "completed") -> Position | None:
        """Stores the channel's end: readers get ``stream.end`` and stop. A second call returns the first end."""
        self._check_sync("close_channel")
        batch = closing(channel, reason)
        try:
            return position_of(batch, self.appends.append(batch))
        except ChannelClosed:
            page = self.backend.read([ReadRequest(channel, limit=0)])[0]
            return position_of(batch, Appended(page.epoch, page.top, page.top_check))

    async def aclose_channel(self, channel: str, reason: str = "completed") -> Position | None:
        """The async twin of `close_channel`."""
        self._check_open()
        batch = closing(channel, reason)
        try:
            return position_of(batch, await self.appends.aappend(batch))
        except ChannelClosed:
            page = (await self.backend.aread([ReadRequest(channel, limit=0)]))[0]
            return position_of(batch, Appended(page.epoch, page.top, page.top_check))

    # who may hold a stream

    # following

    def subscribe(
        self,
        channels: str | Iterable[str],
        *,
        after: str | Position | None = None,
        last: int | None = None,
        filter: Filter | None = None,
        policy: Policy | None = None,
        queue_size: int | None = None,
    ) -> Subscription:
        """A blocking iterator over the events of one or several channels.

        Args:
            channels: names; at most ``max_channels``.
            after: an id or `Position` to resume after, ``"earliest"``, or ``"now"`` (default).
            last: begin with the last so many events instead.
            filter: which events are wanted; every visibility if omitted, since the caller is server code.
            policy: what happens when this reader falls more than `queue_size` events behind; the setting if omitted.

        Raises:
            InvalidInput: a name or position breaks a rule (an id that is not ours makes a gap event instead).
            PolicyNotSupported: ``block`` on a backend that cannot keep it.
        """
        self._check_sync("subscribe")
        wish = self._wish(channels, after=after, last=last, filter=filter, policy=policy, queue_size=queue_size)
        return Subscription(self.thread_hub(), wish)

    def asubscribe(
        self,
        channels: str | Iterable[str],
        *,
        after: str | Position | None = None,
        last: int | None = None,
        filter: Filter | None = None,
        policy: Policy | None = None,
        queue_size: int | None = None,
    ) -> AsyncSubscription:
        """The async twin of `subscribe`; call it on the loop that will consume it."""
        self._check_open()
        wish = self._wish(channels, after=after, last=last, filter=filter, policy=policy, queue_size=queue_size)
        return AsyncSubscription(self.loop_hub(), wish)

    def history(self, channel: str, *, after: str | Position | None = None, limit: int = 100) -> list[Event]:
        """The retained events of a channel after a position, oldest first.

        Args:
            after: an id or `Position`; None: from the oldest.
            limit: 1 to 10,000.

        Returns:
            At most `limit` events, after a ``stream.gap`` event if `after` lies before the retained log.
        """
        self._check_sync("history")
        wish, request = history_wish(self.settings, channel, after, limit)
        return history_events(wish, self.backend.read([request])[0])

    async def ahistory(self, channel: str, *, after: str | Position | None = None, limit: int = 100) -> list[Event]:
        """The async twin of `history`."""
        self._check_open()
        wish, request = history_wish(self.settings, channel, after, limit)
        return history_events(wish, (await self.backend.aread([request]))[0])

    # who may read

    def token(self, channels: str | Iterable[str], user: str | None = None, expires_seconds: float = 300.0) -> str:
        """A signed token (JWT, RFC 7519) that lets its holder read these channels; see `sse_bridge.tokens`.

        Makes no I/O, so it has no async twin.

        Args:
            channels: whole names.
            user: whose streams they will be, for limits and revocation.
            expires_seconds: rounded up to whole seconds; the streams that it opened end then.

        Raises:
            InvalidInput: a name or number breaks a rule, or there are too many names for a cookie.
            ConfigurationError: the setting ``token_secret`` is missing.
            ImportError: PyJWT is (extra ``tokens``).
        """
        return make_token(self.settings, channels, user, expires_seconds)

    # life

    def close(self) -> None:
        """Ends all subscriptions, those on event loops at their next turn, and gives connections back."""
        self.closed = True
        self._end_loop_hubs()
        hub, self._thread_hub = self._thread_hub, None
        if hub is not None:
            hub.close()
        self.backend.close()

    async def aclose(self) -> None:
        """The async twin of `close`; the subscriptions of this loop have ended when it returns."""
        self.closed = True
        loop_hub = self._loop_hubs.get(asyncio.get_running_loop())
        if loop_hub is not None:
            loop_hub.close()
            await loop_hub.guard.flush()
        self._end_loop_hubs()
        hub, self._thread_hub = self._thread_hub, None
        if hub is not None:
            await asyncio.to_thread(hub.close)
        await self.backend.aclose()

    def _end_loop_hubs(self) -> None:
        if self._pid != os.getpid():
            return  # the loops are the parent's, and would be woken through a pipe that both share
        with self._lock:
            hubs = [hub for hub in self._loop_hubs.values() if not hub.closed]
            self._loop_hubs.clear()
        for hub in hubs:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                hub.loop.call_soon_threadsafe(hub.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Bridge {self.backend.name} prefix={self.settings.prefix!r}>"

    # for streams

    def thread_hub(self) -> ThreadHub:
        """The hub of this process for threads and greenlets."""
        self._check_open()
        hub = self._thread_hub
        if hub is None:
            with self._lock:
                hub = self._thread_hub
                if hub is None:
                    hub = self._thread_hub = ThreadHub(self.backend, self.settings, self.tally)
        return hub

    def loop_hub(self) -> LoopHub:
        """The hub of the running loop."""
        self._check_open()
        loop = asyncio.get_running_loop()
        hub = self._loop_hubs.get(loop)
        if hub is None or hub.closed:
            with self._lock:
                for other in [each for each in self._loop_hubs if each.is_closed()]:
                    del self._loop_hubs[other]  # nobody will close it any more, and it keeps its loop
                hub = self._loop_hubs[loop] = LoopHub(self.backend, self.settings, self.tally)
        return hub

    def hubs(self) -> list[ThreadHub | LoopHub]:
        """The open hubs of this process: that for threads and those of all its loops. From any thread."""
        if self._pid != os.getpid():
            after_fork(self, Bridge._begin)
        with self._lock:
            hubs: list[ThreadHub | LoopHub] = [
                hub for loop, hub in self._loop_hubs.items() if not (hub.closed or loop.is_closed())
            ]
            if self._thread_hub is not None:
                hubs.append(self._thread_hub)
        return hubs

    def wish(self, channels: str | Iterable[str], **options: Any) -> Wish:
        """A checked request for these channels; see `make_wish` for the options."""
        return self._wish(channels, **options)

    def revoked(self, user: str | None, channels: tuple[str, ...]) -> bool:
        """Whether a hub of this process, with a live link, knows that such a stream is revoked."""
        if self._pid != os.getpid():
            self._begin()
        now = time.monotonic()
        with self._lock:
            hubs = [self._thread_hub, *self._loop_hubs.values()]
        return any(hub is not None and hub.guard.ward.revoked(user, channels, now) for hub in hubs)

    # inside

    def _wish(self, channels: str | Iterable[str], **options: Any) -> Wish:
        wish = make_wish(self.settings, channels, **options)
        if wish.policy == "block" and not self.backend.can_block:
            raise PolicyNotSupported(
                f"policy 'block' makes publishers wait for readers, which the {self.backend.name} backend cannot do "
                "across processes; use 'catch_up', or the memory backend"
            )
        return wish

    def _check_open(self) -> None:
        if self.closed:
            raise BridgeClosed("this bridge was closed; make another one")
        if self._pid != os.getpid():
            after_fork(self, Bridge._begin)

    def _check_sync(self, name: str) -> None:
        if asyncio._get_running_loop() is not None:
            raise AsyncContextError(
                f"{name}() would block the event loop that runs on this thread; await a{name}() instead"
                if name != "subscribe"
                else "subscribe() would block the event loop that runs on this thread; use 'async with asubscribe()'"
            )
        self._check_open()
