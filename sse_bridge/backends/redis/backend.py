"""`RedisBackend`: the contract of ``backends/base.py`` on one Redis server, behind Sentinels, or on a cluster.

Nothing is connected before the first use. Threads share the connections of their process, and a forked child makes its
own; coroutines share those of their event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ...admission.contract import ControlRequest
from ...config import Settings
from ...errors import BackendUnavailable, ConfigurationError, SSEBridgeError
from ...records.continuity import Page, ReadRequest
from ...runtime.forks import after_fork
from ..base import Append, Appended, Sink, Upstream
from . import aio, aio_cluster, aio_upstream, startup, threads, threads_cluster, threads_upstream, urls
from .aio_publisher import Publisher
from .calls import AppendCall, ReadCall
from .connecting import LINK_ERRORS
from .control import ControlCall, check_eviction
from .keys import Keys
from .letter_box import RedisLetterBox
from .link import PubSubLink
from .retention import LOOK_SECONDS, Mode, Retention, RetentionCall, Stored
from .scripts import Codec

log = logging.getLogger("sse_bridge.redis")

READS_PER_TRIP = 16  # pages per round trip: 16 MiB at most


class _LoopSide:
    """A backend's connections, appends and checks of one event loop."""

    def __init__(self, backend: RedisBackend) -> None:
        shared = backend._client.owned()
        self.client = aio.Client(backend._target, backend._attempt_seconds, shared.routes, shared.breakers)
        self.publisher = Publisher(self.client, backend._codec, backend._timeout)
        self.checking: asyncio.Task[None] | None = None  # the first checks under way, awaited by all first callers
        self.checked = False
        self.looking: asyncio.Task[None] | None = None  # reads the retention again; the loop's publishes wait, in order


class RedisBackend:
    """The contract on Redis; see the module. Its `name` is ``redis``, ``sentinel`` or ``cluster``."""

    can_block = False
    can_control = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._target = urls.parse(settings.url)
        if ignored := ", ".join(self._target.ignored):
            log.info("options of the Redis URL that are accepted and ignored: %s", ignored)
        self.name: str = self._target.kind
        self._sharded = self._target.kind == "cluster"
        self._keys = Keys(settings.prefix, self._target.database)
        self._codec = Codec(self._keys, settings.replay_size, settings.replay_seconds, self._sharded)
        self._retention = Retention(self._codec, settings, time.monotonic())
        self._timeout = settings.publish_timeout_seconds
        # a third, so that a lost answer is noticed and looked up in the log before the deadline
        self._attempt_seconds = self._timeout / 3
        self._client = threads.Client(self._target, self._attempt_seconds)
        self._eviction: str | None = None  # maxmemory-policy, if INFO is allowed
        self._checked_pid = 0
        self._begin()

    def _begin(self) -> None:
        # reentrant: a signal handler that publishes during the first look makes a look of its own
        self._check_lock = threading.RLock()
        self._sides_lock = threading.RLock()
        # a parent's loops do not run in its child, and their connections are the parent's
        self._sides: dict[asyncio.AbstractEventLoop, _LoopSide] = {}  # a new loop's side drops those of closed loops
        self._pid = os.getpid()  # last: other threads of a child look at it first

    def _new_link(self, sink: Sink) -> PubSubLink:
        return PubSubLink(self._keys, sink, self._sharded, self._settings.link_timeout_seconds)

    @property
    def foreign_records(self) -> int:
        """Number of pages read with records that this library did not write, which are skipped."""
        return self._codec.foreign_records

    @property
    def server_of(self) -> Callable[[str], Hashable] | None:
        """See `Backend`: on a cluster, the primary that owns the channel."""
        return self._server_of if self._sharded else None

    def _server_of(self, channel: str) -> Hashable:
        return self._client.owned().routes.address(channel)

    # threads and greenlets

    def append(self, batch: Append) -> Appended:
        call = AppendCall(self._codec, batch)
        timeout = self._timeout
        if self._checked_pid != os.getpid() or time.monotonic() >= self._retention.look_at:
            timeout = self._before_append(call)
        self._client.run((call,), timeout)
        return call.outcome()

    def append_many(self, batches: Sequence[Append]) -> list[Appended | SSEBridgeError]:
        """Appends to different channels in one round trip per server; each append has its outcome at its index."""
        calls = [AppendCall(self._codec, batch) for batch in batches]
        if not calls:
            return []
        try:
            timeout = self._before_append(calls[0])
        except SSEBridgeError as error:
            return [error] * len(batches)
        self._client.run(calls, timeout)
        return [call.error or call.outcome() for call in calls]

    def _before_append(self, append: AppendCall) -> float:
        """Makes the checks that are due; returns the seconds left for the append."""
        if self._checked_pid != os.getpid():
            with append.naming():
                return self.check()
        now = time.monotonic()
        if now >= self._retention.look_at:
            self._retention.look_at = now + LOOK_SECONDS  # so that other threads go on meanwhile
            call = self._retention.call(now)
            self._client.run((call,), LOOK_SECONDS)
            self._looked_again(call)
        return self._timeout

    def read(self, requests: Sequence[ReadRequest]) -> list[Page | SSEBridgeError]:
        if self._checked_pid != os.getpid():
            self.check()
        outcomes: list[Page | SSEBridgeError] = []
        for start in range(0, len(requests), READS_PER_TRIP):
            calls = [ReadCall(self._codec, request) for request in requests[start : start + READS_PER_TRIP]]
            self._client.run(calls, self._timeout)
            outcomes += [call.error or call.outcome() for call in calls]
        return outcomes

    def control(self, request: ControlRequest) -> Any:
        call = ControlCall(self._codec, request)
        if self._checked_pid != os.getpid():
            with call.naming():
                self.check()
        check_eviction(self._eviction)
        self._client.run((call,), self._timeout)
        return call.outcome()

    def upstream(self, sink: Sink) -> Upstream:
        if self._sharded:
            return threads_cluster.ClusterUpstream(self._client, lambda: self._new_link(sink))
        return threads_upstream.LinkRunner(self._client.connect_primary, self._new_link(sink), threading.RLock())

    @property
    def letter_box(self) -> RedisLetterBox:
        return RedisLetterBox(self._client, self._codec, self._settings)

    def close(self) -> None:
        """Closes the idle connections of this process's threads; a later use opens new ones."""
        self._client.close()

    def check(self) -> float:
        """Checks retention, permissions and eviction, once per process at its first use.

        Returns:
            The seconds left of the deadline, since a first publish has no more time than any other.

        Raises:
            ConfigurationError: another version of the library uses the prefix, or the ACL forbids announcing.
            BackendUnavailable: Redis did not answer in time.
        """
        deadline = time.monotonic() + self._timeout
        pid = os.getpid()
        if self._pid != pid:
            after_fork(self, RedisBackend._begin)
        with self._check_lock:  # the holder looks until its own deadline, which is before that of each waiting thread
            if self._checked_pid != pid:
                if time.monotonic() >= deadline:
                    raise startup.too_slow(self._timeout)
                self._look(self._retries(deadline))
                self._checked_pid = pid
        return max(0.05, deadline - time.monotonic())

    def _retries(self, deadline: float) -> startup.StartupRetries:
        client = self._client.owned()
        return startup.StartupRetries(deadline, self._attempt_seconds, self._retention, client.routes, client.breakers)

    def _look(self, retries: startup.StartupRetries) -> None:
        while True:
            look = self._retention.call(time.monotonic())
            self._client.run((look,), retries.left(time.monotonic()))
            channel = retries.looked(look, time.monotonic())
            try:
                self._probe(channel)
            except LINK_ERRORS as error:
                time.sleep(retries.pause(error, time.monotonic()))
            else:
                return

    def _looked_again(self, call: RetentionCall) -> None:
        """Takes over the retention that was read again; another layout by now is an error for all later calls."""
        if call.error is not None:
            self._retention.failed(call.error, time.monotonic())
            return
        try:
            self._retention.learn(call.outcome(), time.monotonic())
        except ConfigurationError:
            self._checked_pid = 0
            for side in list(self._sides.values()):
                side.checked = False
            raise

    def stored_retention(self) -> Stored:
        """The retention stored under the prefix, by whatever version; generation 0: none is."""
        return self._retain("show", (self._codec.replay_size, self._codec.replay_seconds))

    def change_retention(self, replay_size: int, replay_seconds: float) -> Stored:
        """Stores other values, which running processes follow within 30 s, and returns them; raises as `Retention.learn`."""
        stored = self._retain("set", (replay_size, replay_seconds))
        self._retention.learn(stored, time.monotonic())
        return stored

    def _retain(self, mode: Mode, values: tuple[int, float]) -> Stored:
        call = RetentionCall(self._codec, mode, values)
        self._client.run((call,), self._timeout)
        return call.outcome()

    def _probe(self, channel: str) -> None:
        probe = startup.Probe(self._keys.of(channel)[0], self._sharded)
        address = self._client.routes.address(channel)
        if address is None:
            return
        with (
            contextlib.closing(self._client.connect(address, self._attempt_seconds)) as listener,
            contextlib.closing(self._client.connect(address, self._attempt_seconds)) as speaker,
        ):
            if probe.refused(listener.ask(probe.subscribe)):
                return
            self._eviction = startup.eviction_policy(speaker.ask(startup.INFO))
            if not probe.refused(speaker.ask(probe.announce)):
                probe.heard(listener.reply())

    # coroutines

    async def aappend(self, batch: Append) -> Appended:
        side = self._side()
        if not side.checked:
            with AppendCall(self._codec, batch).naming():
                await self.acheck()
        if time.monotonic() >= self._retention.look_at:
            await self._alook_again(side)
        return await side.publisher.submit(batch)

    async def aread(self, requests: Sequence[ReadRequest]) -> list[Page | SSEBridgeError]:
        side = self._side()
        if not side.checked:
            await self.acheck()
        outcomes: list[Page | SSEBridgeError] = []
        for start in range(0, len(requests), READS_PER_TRIP):
            calls = [ReadCall(self._codec, request) for request in requests[start : start + READS_PER_TRIP]]
            await side.client.run(calls, self._timeout)
            outcomes += [call.error or call.outcome() for call in calls]
        return outcomes

    async def acontrol(self, request: ControlRequest) -> Any:
        side = self._side()
        call = ControlCall(self._codec, request)
        if not side.checked:
            with call.naming():
                await self.acheck()
        check_eviction(self._eviction)
        await side.client.run((call,), self._timeout)
        return call.outcome()

    def aupstream(self, sink: Sink) -> Upstream:
        client = self._side().client
        if self._sharded:
            return aio_cluster.ClusterUpstream(client, lambda: self._new_link(sink))
        return aio_upstream.LinkRunner(client.connect_primary, self._new_link(sink))

    async def aclose(self) -> None:
        """Closes the idle connections of the running loop, and those of threads; a later use opens new ones."""
        if self._pid == os.getpid():
            with self._sides_lock:
                side = self._sides.pop(asyncio.get_running_loop(), None)
            if side is not None:
                await side.client.close()
        self._client.close()
        for _ in range(3):  # tasks and transports that were just cancelled or aborted need turns of the loop to end
            await asyncio.sleep(0)

    async def acheck(self) -> None:
        """The twin of `check`, once per loop; cancelling one caller leaves the checks to the others."""
        deadline = time.monotonic() + self._timeout
        side = self._side()
        while not side.checked:
            left = deadline - time.monotonic()
            if left <= 0:
                raise startup.too_slow(self._timeout)
            task, mine = side.checking, False
            if task is None or task.done():
                task, mine = asyncio.get_running_loop().create_task(self._alook(side, self._retries(deadline))), True
                # the error counts as retrieved, if every caller is gone
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
                side.checking = task
            # the caller's own look keeps this deadline by itself, and knows better why it failed
            await asyncio.wait([task], timeout=None if mine else left)
            error = task.exception() if task.done() and not task.cancelled() else None
            # a task's deadline is that of the call that started it; this call may have time left for another
            if error is not None and (mine or not isinstance(error, BackendUnavailable)):
                raise error
        side.checking = None

    async def _alook(self, side: _LoopSide, retries: startup.StartupRetries) -> None:
        while not side.checked:
            look = self._retention.call(time.monotonic())
            await side.client.run((look,), retries.left(time.monotonic()))
            channel = retries.looked(look, time.monotonic())
            try:
                await self._aprobe(side.client, channel)
            except LINK_ERRORS as error:
                await asyncio.sleep(retries.pause(error, time.monotonic()))
            else:
                side.checked = True

    async def _alook_again(self, side: _LoopSide) -> None:
        """Reads the retention again, once for all concurrent publishes; cancelling one leaves the read to the others."""
        task = side.looking
        if task is None or task.done():

            async def look() -> None:
                call = self._retention.call(time.monotonic())
                await side.client.run((call,), LOOK_SECONDS)
                self._looked_again(call)

            task = side.looking = asyncio.get_running_loop().create_task(look())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # lest asyncio warns
        await asyncio.wait([task])
        if task.done() and not task.cancelled():
            task.result()

    async def _aprobe(self, client: aio.Client, channel: str) -> None:
        probe = startup.Probe(self._keys.of(channel)[0], self._sharded)
        address = client.routes.address(channel)
        if address is None:
            return
        async with contextlib.AsyncExitStack() as stack:
            seconds = self._attempt_seconds
            listener = await client.connect(address, seconds)
            stack.push_async_callback(listener.close)
            speaker = await client.connect(address, seconds)
            stack.push_async_callback(speaker.close)
            if probe.refused(await listener.ask(probe.subscribe, seconds)):
                return
            self._eviction = startup.eviction_policy(await speaker.ask(startup.INFO, seconds))
            if not probe.refused(await speaker.ask(probe.announce, seconds)):
                probe.heard(await listener.reply(seconds))

    def _side(self) -> _LoopSide:
        """The side of the running loop, made at its first use."""
        if self._pid != os.getpid():
            after_fork(self, RedisBackend._begin)
        loop = asyncio.get_running_loop()
        side = self._sides.get(loop)
        if side is None:
            with self._sides_lock:  # loops on other threads come and go meanwhile
                gone = [self._sides.pop(other) for other in list(self._sides) if other.is_closed()]
                side = self._sides[loop] = _LoopSide(self)
            for each in gone:
                each.client.abandon()
        return side
