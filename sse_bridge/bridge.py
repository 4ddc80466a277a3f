"""The façade: one class, each waiting method with an a-prefixed async twin.

A bridge is cheap to make: connections, hubs and threads are made at first use, per process (so it survives fork) and per
event loop. Sync methods raise `AsyncContextError` on a thread that runs an event loop, which they would block.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

from .backends.adapt import both_colours
from .backends.base import Appended, AsyncBackend, Backend, SyncBackend, page_of
from .backends.urls import make_backend
from .config import Policy, Settings
from .dead_letters import DeadLetters
from .draining import Draining
from .errors import AsyncContextError, BridgeClosed, ChannelClosed, ConfigurationError, PolicyNotSupported
from .events import Position, Visibility
from .filters import Filter
from .follow.subscribe_request import SubscribeRequest, make_request
from .history import Reading
from .hub.loop import LoopHub
from .hub.tally import Tally
from .hub.threads import ThreadHub
from .hub.windows import WindowBudget
from .publishing.observed import Appends
from .publishing.publication import Item, Many, Result, closing, position_of, single
from .publishing.spooling import with_spool
from .records.continuity import ReadRequest
from .revocation import Revocations
from .runtime.forks import after_fork
from .streams.lifecycle.registry import Registry
from .streams.lifecycle.signals import drain_at_exit
from .subscription import AsyncSubscription, Subscription
from .tokens import make_token


class Bridge(DeadLetters, Draining, Reading, Revocations):
    """Publish from anywhere, sync or async; follow channels from anywhere.

    Safe for any number of threads, event loops, greenlets, and across fork.

    Args:
        url: ``memory://``, ``redis://``, ``rediss://``, ``redis+sentinel://`` or ``redis+cluster://``; the setting
            ``url`` if omitted.
        backend: a backend of your own instead (see `sse_bridge.backends.base`), sync, async or both.
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
        self.appends: Appends = self.backend  # the backend, wrapped by observers
        self.closed = False
        if self.settings.max_streams_per_user and not getattr(self.backend, "can_control", False):
            raise ConfigurationError(
                f"max_streams_per_user={self.settings.max_streams_per_user} needs a backend that keeps leases "
                f"(sse_bridge.admission.contract), and {self.backend.name!r} does not; leave the setting at 0"
            )
        self._begin()

    def _begin(self) -> None:
        self.streams = Registry(self.settings.max_streams)  # empty in a forked child, which serves none of its parent's
        drain_at_exit(self.streams, self.settings.drain_seconds)
        self.tally = Tally()
        self.windows = WindowBudget(self.settings.windows_max_bytes)
        self._lock = threading.RLock()  # reentrant: a signal handler may take it again
        self._thread_hub: ThreadHub | None = None
        # A hub holds its loop, so weak keys would stay. Iterated as a copy: a signal handler may close the bridge meanwhile.
        self._loop_hubs: dict[asyncio.AbstractEventLoop, LoopHub] = {}
        self._pid = os.getpid()  # last: other threads of a child read it first

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
            visibility: the audience; ``live_ui_only`` is never stored.
            store: False makes an ephemeral event: delivered live only, without an id.
            idempotency_key: within 5 minutes the first event under a key wins, and its position is returned.

        Returns:
            The event's position, whose ``str()`` is the SSE id on a one-channel stream; None if ephemeral or spooled.

        Raises:
            InvalidInput: a name or the data breaks a rule; nothing was published.
            ChannelClosed: the channel's end is stored.
            BackendUnavailable: nothing was published in time (with ``on_unavailable="spool"`` the event is spooled instead).
            PublishUncertain: the event may or may not have been published.
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
            page = page_of(self.backend.read([ReadRequest(channel, limit=0)]))
            return position_of(batch, Appended(page.epoch, page.top, page.top_check))

    async def aclose_channel(self, channel: str, reason: str = "completed") -> Position | None:
        """The async twin of `close_channel`."""
        self._check_open()
        batch = closing(channel, reason)
        try:
            return position_of(batch, await self.appends.aappend(batch))
        except ChannelClosed:
            page = page_of(await self.backend.aread([ReadRequest(channel, limit=0)]))
            return position_of(batch, Appended(page.epoch, page.top, page.top_check))

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
            last: begin with the last `last` events instead.
            filter: the wanted events; every visibility if omitted, since the caller is server code.
            policy: the policy for a reader more than `queue_size` events behind; the setting if omitted.

        Raises:
            InvalidInput: a name or position breaks a rule (a foreign id makes a gap event instead).
            PolicyNotSupported: ``block`` on a backend without support for it.
        """
        self._check_sync("subscribe")
        request = self.subscribe_request(
            channels, after=after, last=last, filter=filter, policy=policy, queue_size=queue_size
        )
        return Subscription(self.thread_hub(), request)

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
        """The async twin of `subscribe`; call it on the loop that consumes the events."""
        self._check_open()
        request = self.subscribe_request(
            channels, after=after, last=last, filter=filter, policy=policy, queue_size=queue_size
        )
        return AsyncSubscription(self.loop_hub(), request)

    # access

    def token(self, channels: str | Iterable[str], user: str | None = None, expires_seconds: float = 300.0) -> str:
        """A signed token (JWT, RFC 7519) that lets its holder read these channels; see `sse_bridge.tokens`.

        Makes no I/O, so it has no async twin.

        Args:
            channels: whole names.
            user: the streams' user, for limits and revocation.
            expires_seconds: rounded up to whole seconds; streams opened with the token end then.

        Raises:
            InvalidInput: a name or number breaks a rule, or there are too many names for a cookie.
            ConfigurationError: the setting ``token_secret`` is missing.
            ImportError: PyJWT (extra ``tokens``) is not installed.
        """
        return make_token(self.settings, channels, user, expires_seconds)

    # life

    def close(self) -> None:
        """Ends all subscriptions, those on event loops at their next turn, and closes connections."""
        self.closed = True
        self._end_loop_hubs()
        hub = self._thread_hub
        if hub is not None:
            hub.close()
            self._thread_hub = None  # last, so that an interrupted call can be repeated
        self.backend.close()

    async def aclose(self) -> None:
        """The async twin of `close`; the subscriptions of this loop have ended when it returns."""
        self.closed = True
        loop_hub = self._loop_hubs.get(asyncio.get_running_loop())
        if loop_hub is not None:
            loop_hub.close()
            await loop_hub.admission.flush()
        self._end_loop_hubs()
        hub, self._thread_hub = self._thread_hub, None
        if hub is not None:
            await asyncio.to_thread(hub.close)
        await self.backend.aclose()

    def _end_loop_hubs(self) -> None:
        if self._pid != os.getpid():
            return  # waking the parent's loops would write into a pipe that both processes share
        with self._lock:
            hubs = [hub for hub in list(self._loop_hubs.values()) if not hub.closed]
            self._loop_hubs.clear()
        for hub in hubs:
            with contextlib.suppress(RuntimeError):  # a closed loop
                hub.loop.call_soon_threadsafe(hub.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Bridge {self.backend.name} prefix={self.settings.prefix!r}>"

    # for streams

    def thread_hub(self) -> ThreadHub:
        """The hub of this process for threads and greenlets."""
        self._check_open()
        if self._thread_hub is None:
            with self._lock:
                if self._thread_hub is None:
                    made = ThreadHub(self.backend, self.settings, self.tally, self.windows)
                    if self._thread_hub is None and not self.closed:  # no call comes before the next line
                        self._thread_hub = made
        hub = self._thread_hub
        if hub is None:
            raise BridgeClosed("this bridge was closed; make another one")
        return hub

    def loop_hub(self) -> LoopHub:
        """The hub of the running loop."""
        self._check_open()
        loop = asyncio.get_running_loop()
        hub = self._loop_hubs.get(loop)
        if hub is None or hub.closed:
            with self._lock:
                for other in [each for each in list(self._loop_hubs) if each.is_closed()]:
                    self._loop_hubs.pop(other, None)  # else the hub keeps its closed loop alive
                hub = self._loop_hubs[loop] = LoopHub(self.backend, self.settings, self.tally, self.windows)
        return hub

    def hubs(self) -> list[ThreadHub | LoopHub]:
        """The open hubs of this process: that for threads and those of all its loops. From any thread."""
        if self._pid != os.getpid():
            after_fork(self, Bridge._begin)
        with self._lock:
            hubs: list[ThreadHub | LoopHub] = [
                hub for loop, hub in list(self._loop_hubs.items()) if not (hub.closed or loop.is_closed())
            ]
            if self._thread_hub is not None:
                hubs.append(self._thread_hub)
        return hubs

    def subscribe_request(self, channels: str | Iterable[str], **options: Any) -> SubscribeRequest:
        """A checked request for these channels; see `make_request` for the options."""
        request = make_request(self.settings, channels, **options)
        if request.policy == "block" and not self.backend.can_block:
            raise PolicyNotSupported(
                f"policy 'block' makes publishers wait for readers, which the {self.backend.name} backend cannot do "
                "across processes; use 'catch_up', or the memory backend"
            )
        return request

    def revoked(self, user: str | None, channels: tuple[str, ...]) -> bool:
        """Whether a hub of this process, with a live link, knows a revocation of these streams."""
        if self._pid != os.getpid():
            after_fork(self, Bridge._begin)
        now, thread_hub = time.monotonic(), self._thread_hub
        if thread_hub is not None and thread_hub.admission.state.revoked(user, channels, now):
            return True
        for hub in list(self._loop_hubs.values()):  # one call, in which nothing else runs, so no lock is needed
            if hub.admission.state.revoked(user, channels, now) and not hub.loop.is_closed():
                return True  # the hub of a closed loop would not hear that a revocation was taken back
        return False

    # inside

    def _check_open(self) -> None:
        if self.closed:
            raise BridgeClosed("this bridge was closed; make another one")
        if self._pid != os.getpid():  # no at-fork hook, since other hooks run before it, and uWSGI runs none
            after_fork(self, Bridge._begin)

    def _check_sync(self, name: str) -> None:
        if asyncio._get_running_loop() is not None:
            raise AsyncContextError(
                f"{name}() would block the event loop that runs on this thread; await a{name}() instead"
                if name != "subscribe"
                else "subscribe() would block the event loop that runs on this thread; use 'async with asubscribe()'"
            )
        self._check_open()
