"""`RedisBackend`: the contract of ``backends/base.py`` on one Redis server, behind Sentinels, or on a cluster.

Nothing is connected before the first use. Threads share the connections of their process, and a forked child makes its
own; coroutines share those of their event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from ...config import Settings
from ...errors import BackendUnavailable, SSEBridgeError
from ...follow.page import Page, ReadRequest
from ...forks import after_fork
from ..admission import ControlRequest
from ..base import Append, Appended, Sink, Upstream
from . import aio, aio_cluster, aio_upstream, startup, threads, threads_cluster, threads_upstream, urls
from .aio_publisher import Publisher
from .calls import AppendCall, ReadCall, StartCall
from .connecting import LINK_ERRORS
from .control import ControlCall, check_eviction
from .keys import PROBE, Keys
from .letter_box import RedisLetterBox
from .link import Link
from .scripts import Codec

READS_PER_TRIP = 16  # pages per round trip: 16 MiB at most


class _LoopSide:
    """What a backend holds for one event loop."""

    def __init__(self, backend: RedisBackend) -> None:
        self.client = aio.Client(backend._target, backend._attempt_seconds)
        self.publisher = Publisher(self.client, backend._codec, backend._timeout)
        self.checking: asyncio.Task[None] | None = None  # the first look under way; all who are first wait for it
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
        self._begin()

    def _begin(self) -> None:
        self._check_lock = threading.Lock()
        self._sides_lock = threading.Lock()
        # a parent's loops do not run in its child, and their connections are the parent's
        self._sides: dict[asyncio.AbstractEventLoop, _LoopSide] = {}  # those of closed loops go when another one comes
        self._pid = os.getpid()  # last: other threads of a child look at it first

    def _new_link(self, sink: Sink) -> Link:
        return Link(self._keys, sink, self._sharded, self._settings.link_timeout_seconds)

    @property
    def foreign_records(self) -> int:
        """How many pages of the log held records that this library did not write, and were skipped."""
        return self._codec.foreign_records

    # threads and greenlets

    def append(self, batch: Append) -> Appended:
        timeout = self._timeout if self._checked_pid == os.getpid() else self.check()
        call = AppendCall(self._codec, batch)
        self._client.run((call,), timeout)
        return call.outcome()

    def append_many(self, batches: Sequence[Append]) -> list[Appended | SSEBridgeError]:
        """Appends to different channels in one round trip per server; what happened to each stands in its place."""
        try:
            timeout = self._timeout if self._checked_pid == os.getpid() else self.check()
        except SSEBridgeError as error:
            return [error] * len(batches)
        calls = [AppendCall(self._codec, batch) for batch in batches]
        self._client.run(calls, timeout)
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

    @property
    def letter_box(self) -> RedisLetterBox:
        return RedisLetterBox(self._client, self._codec, self._settings)

    def close(self) -> None:
        """Closes the idle connections of this process's threads; a later use opens new ones."""
        self._client.close()

    def check(self) -> float:
        """Looks at retention, permissions and eviction; the first use in each process does it.

        Returns:
            The seconds that are left of the deadline: a first publish has no more time than any other.

        Raises:
            ConfigurationError: the stored retention differs, or the ACL forbids announcing.
            BackendUnavailable: Redis did not answer in time.
        """
        deadline = time.monotonic() + self._timeout
        pid = os.getpid()
        if self._pid != pid:
            after_fork(self, RedisBackend._begin)
        lock = self._check_lock
        if not lock.acquire(timeout=self._timeout):
            raise startup.too_slow(self._timeout)
        try:
            if self._checked_pid != pid:
                self._look(startup.Trials(deadline))
                self._checked_pid = pid
        finally:
            lock.release()
        return max(0.05, deadline - time.monotonic())

    def _look(self, trials: startup.Trials) -> None:
        while True:
            start = StartCall(self._codec, self._keys.retention.decode())
            self._client.run((start,), trials.left(time.monotonic()))
            self._retain(start)
            try:
                self._probe()
            except LINK_ERRORS as error:
                time.sleep(trials.pause(error, time.monotonic()))
            else:
                return

    def _retain(self, start: StartCall) -> None:
        retention = startup.retention(start.outcome(), self._settings)
        if retention != (self._codec.replay_size, self._codec.replay_seconds):
            self._codec.retain(*retention)

    def _probe(self) -> None:
        probe = startup.Probe(self._keys.of(PROBE)[0], self._sharded)
        address = self._client.routes.address(PROBE)
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
        if self._pid == os.getpid():
            with self._sides_lock:
                side = self._sides.pop(asyncio.get_running_loop(), None)
            if side is not None:
                await side.client.close()
        self._client.close()
        for _ in range(3):  # what was cancelled or aborted just now is gone only after its turns on the loop
            await asyncio.sleep(0)

    async def acheck(self) -> None:
        """The twin of `check`, once per loop. A caller that is cancelled leaves the look to the others."""
        deadline = time.monotonic() + self._timeout
        side = self._side()
        while not side.checked:
            left = deadline - time.monotonic()
            if left <= 0:
                raise startup.too_slow(self._timeout)
            task, mine = side.checking, False
            if task is None or task.done():
                task, mine = asyncio.get_running_loop().create_task(self._alook(side, startup.Trials(deadline))), True
                task.add_done_callback(
                    lambda done: done.cancelled() or done.exception()
                )  # if nobody is left to hear it
                side.checking = task
            # one's own keeps this deadline by itself, and knows better why it failed
            await asyncio.wait([task], timeout=None if mine else left)
            error = task.exception() if task.done() and not task.cancelled() else None
            # the deadline of a look is that of whoever began it; another may have time left for one of its own
            if error is not None and (mine or not isinstance(error, BackendUnavailable)):
                raise error
        side.checking = None

    async def _alook(self, side: _LoopSide, trials: startup.Trials) -> None:
        while not side.checked:
            start = StartCall(self._codec, self._keys.retention.decode())
            await side.client.run((start,), trials.left(time.monotonic()))
            self._retain(start)
            try:
                await self._aprobe(side.client)
            except LINK_ERRORS as error:
                await asyncio.sleep(trials.pause(error, time.monotonic()))
            else:
                side.checked = True

    async def _aprobe(self, client: aio.Client) -> None:
        probe = startup.Probe(self._keys.of(PROBE)[0], self._sharded)
        address = client.routes.address(PROBE)
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
        """What belongs to the running loop."""
        if self._pid != os.getpid():
            after_fork(self, RedisBackend._begin)
        loop = asyncio.get_running_loop()
        side = self._sides.get(loop)
        if side is None:
            with self._sides_lock:  # loops on other threads come and go as well
                gone = [self._sides.pop(other) for other in list(self._sides) if other.is_closed()]
                side = self._sides[loop] = _LoopSide(self)
            for each in gone:
                each.client.abandon()
        return side
