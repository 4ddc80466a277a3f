"""`RedisBackend`: the contract of ``backends/base.py`` on one Redis server, behind Sentinels, or on a cluster.

Nothing is connected before the first use. Threads share the connections of their process, and a forked child makes its
own; coroutines share those of their event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from ...config import Settings
from ...errors import BackendUnavailable, SSEBridgeError
from ...follow.page import Page, ReadRequest
from ..admission import ControlRequest
from ..base import Append, Appended, Sink, Upstream
from . import aio, aio_cluster, aio_upstream, startup, threads, threads_cluster, threads_upstream, urls
from .aio_publisher import Publisher
from .calls import AppendCall, ReadCall, StartCall
from .connecting import CONNECT_SECONDS, LINK_ERRORS
from .control import ControlCall, check_eviction
from .keys import PROBE, Keys
from .link import Link
from .scripts import Codec

READS_PER_TRIP = 16  # pages per round trip: 16 MiB at most


class _LoopSide:
    """What a backend holds for one event loop."""

    def __init__(self, backend: RedisBackend) -> None:
        self.client = aio.Client(backend._target, backend._attempt_seconds)
        self.publisher = Publisher(self.client, backend._codec, backend._timeout)
        self.checking = asyncio.Lock()
        self.checked = False


class RedisBackend:
    """See the module.

    Attributes:
        name: ``redis``, ``sentinel`` or ``cluster``.
    """

    can_block = False
    can_control = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._target = urls.parse(settings.url)
        self.name: str = self._target.kind
        self._sharded = self._target.kind == "cluster"
        self._keys = Keys(settings.prefix, self._target.database)
        self._codec = Codec(
            self._keys, settings.replay_size, settings.replay_seconds, self._sharded, settings.adopt_retention
        )
        self._timeout = settings.publish_timeout_seconds
        # three attempts fit: an answer that was lost is found out about and looked up before the deadline
        self._attempt_seconds = self._timeout / 3
        self._client = threads.Client(self._target, self._attempt_seconds)
        self._eviction: str | None = None  # maxmemory-policy, when Redis says it
        self._checked_pid = 0
        self._check_lock = threading.Lock()
        self._lock_pid = os.getpid()
        self._sides_pid = os.getpid()
        self._sides: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopSide] = weakref.WeakKeyDictionary()

    def _new_link(self, sink: Sink) -> Link:
        return Link(self._keys, sink, self._sharded, self._settings.link_timeout_seconds)

    # threads and greenlets

    def append(self, batch: Append) -> Appended:
        if self._checked_pid != os.getpid():
            self.check()
        call = AppendCall(self._codec, batch)
        self._client.run((call,), self._timeout)
        return call.outcome()

    def append_many(self, batches: Sequence[Append]) -> list[Appended | SSEBridgeError]:
        """Appends to different channels in one round trip per server; what happened to each stands in its place."""
        if self._checked_pid != os.getpid():
            self.check()
        calls = [AppendCall(self._codec, batch) for batch in batches]
        self._client.run(calls, self._timeout)
        return [call.error or call.outcome() for call in calls]

    def read(self, requests: Sequence[ReadRequest]) -> list[Page]:
        if self._checked_pid != os.getpid():
            self.check()
        pages: list[Page] = []
        for start in range(0, len(requests), READS_PER_TRIP):
            calls = [ReadCall(self._codec, request) for request in requests[start : start + READS_PER_TRIP]]
            self._client.run(calls, self._timeout)
            pages += [call.outcome() for call in calls]
        return pages

    def control(self, request: ControlRequest) -> Any:
        if self._checked_pid != os.getpid():
            self.check()
        check_eviction(self._eviction)
        call = ControlCall(self._codec, request)
        self._client.run((call,), self._timeout)
        return call.outcome()

    def upstream(self, sink: Sink) -> Upstream:
        if self._sharded:
            return threads_cluster.ClusterUpstream(self._client, lambda: self._new_link(sink))
        return threads_upstream.SingleUpstream(self._client, self._new_link(sink))

    def close(self) -> None:
        """Closes the idle connections of this process's threads; a later use opens new ones."""
        self._client.close()

    def check(self) -> None:
        """Looks at retention, permissions and eviction; the first use in each process does it.

        Raises:
            ConfigurationError: the stored retention differs, or the ACL forbids announcing.
            BackendUnavailable: Redis did not answer in time.
        """
        pid = os.getpid()
        if self._lock_pid != pid:
            self._check_lock = threading.Lock()  # the parent's may have been held when it forked
            self._lock_pid = pid
        with self._check_lock:
            if self._checked_pid == pid:
                return
            start = StartCall(self._codec, self._keys.retention.decode())
            self._client.run((start,), self._timeout)
            self._retain(start)
            try:
                self._probe()
            except LINK_ERRORS as error:
                raise BackendUnavailable(f"Redis could not be asked for its settings: {error}") from error
            self._checked_pid = pid

    def _retain(self, start: StartCall) -> None:
        retention = startup.retention(start.outcome(), self._settings)
        if retention != (self._codec.replay_size, self._codec.replay_seconds):
            self._codec.retain(*retention)

    def _probe(self) -> None:
        probe = startup.Probe(self._keys.of(PROBE)[2], self._sharded)
        address = self._client.routes.address(PROBE)
        if address is None:
            return
        with (
            contextlib.closing(self._client.connect(address, CONNECT_SECONDS)) as listener,
            contextlib.closing(self._client.connect(address, CONNECT_SECONDS)) as speaker,
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
            await self.acheck()
        return await side.publisher.submit(batch)

    async def aread(self, requests: Sequence[ReadRequest]) -> list[Page]:
        side = self._side()
        if not side.checked:
            await self.acheck()
        pages: list[Page] = []
        for start in range(0, len(requests), READS_PER_TRIP):
            calls = [ReadCall(self._codec, request) for request in requests[start : start + READS_PER_TRIP]]
            await side.client.run(calls, self._timeout)
            pages += [call.outcome() for call in calls]
        return pages

    async def acontrol(self, request: ControlRequest) -> Any:
        side = self._side()
        if not side.checked:
            await self.acheck()
        check_eviction(self._eviction)
        call = ControlCall(self._codec, request)
        await side.client.run((call,), self._timeout)
        return call.outcome()

    def aupstream(self, sink: Sink) -> Upstream:
        client = self._side().client
        if self._sharded:
            return aio_cluster.ClusterUpstream(client, lambda: self._new_link(sink))
        return aio_upstream.SingleUpstream(client, self._new_link(sink))

    async def aclose(self) -> None:
        """Closes the idle connections of the running loop, and those of threads; a later use opens new ones."""
        if self._sides_pid == os.getpid():
            side = self._sides.pop(asyncio.get_running_loop(), None)
            if side is not None:
                await side.client.close()
        self._client.close()
        for _ in range(3):  # what was cancelled or aborted just now is gone only after its turns on the loop
            await asyncio.sleep(0)

    async def acheck(self) -> None:
        """The twin of `check`, once per loop."""
        side = self._side()
        async with side.checking:
            if side.checked:
                return
            start = StartCall(self._codec, self._keys.retention.decode())
            await side.client.run((start,), self._timeout)
            self._retain(start)
            try:
                await self._aprobe(side.client)
            except LINK_ERRORS as error:
                raise BackendUnavailable(f"Redis could not be asked for its settings: {error}") from error
            side.checked = True

    async def _aprobe(self, client: aio.Client) -> None:
        probe = startup.Probe(self._keys.of(PROBE)[2], self._sharded)
        address = client.routes.address(PROBE)
        if address is None:
            return
        async with contextlib.AsyncExitStack() as stack:
            listener = await client.connect(address, CONNECT_SECONDS)
            stack.push_async_callback(listener.close)
            speaker = await client.connect(address, CONNECT_SECONDS)
            stack.push_async_callback(speaker.close)
            if probe.refused(await listener.ask(probe.subscribe, CONNECT_SECONDS)):
                return
            self._eviction = startup.eviction_policy(await speaker.ask(startup.INFO, CONNECT_SECONDS))
            if not probe.refused(await speaker.ask(probe.announce, CONNECT_SECONDS)):
                probe.heard(await listener.reply(CONNECT_SECONDS))

    def _side(self) -> _LoopSide:
        """What belongs to the running loop."""
        if self._sides_pid != os.getpid():
            # the parent's loops do not run here, and their connections are the parent's
            self._sides_pid = os.getpid()
            self._sides = weakref.WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        side = self._sides.get(loop)
        if side is None:
            for other in [other for other in self._sides if other.is_closed()]:
                self._sides.pop(other).client.abandon()
            side = self._sides[loop] = _LoopSide(self)
        return side
