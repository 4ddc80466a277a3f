"""The live link to a cluster, for asyncio: a `LinkRunner` per primary, and one task that places the channels.

The twin of threads_cluster.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from .aio import Client
from .aio_daemon import LoopDaemon
from .aio_upstream import LinkRunner
from .calls import backoff
from .connecting import CONNECT_SECONDS
from .link import LONGEST_PAUSE, PubSubLink
from .placement import Order, Placement
from .threads_upstream import RETURN_PAUSE
from .urls import Address


class ClusterUpstream:
    """The links to all primaries of a cluster; `new_link` makes that of one more."""

    def __init__(self, client: Client, new_link: Callable[[], PubSubLink]) -> None:
        self._client = client
        self._new_link = new_link
        self._placement = Placement(client.routes)
        self._runners: dict[Address, LinkRunner] = {}
        self._closed = False
        self._changed = asyncio.Event()
        self._daemon = LoopDaemon(self._run, "sse_bridge-redis-placement")

    def subscribe(self, channels: Sequence[str]) -> None:
        self._placement.want(channels)
        self._wake()

    def unsubscribe(self, channels: Sequence[str]) -> None:
        self._carry_out(self._placement.drop(channels))

    def close(self) -> None:
        self._closed = True
        for runner in self._runners.values():
            runner.close()
        self._daemon.close()

    def _wake(self) -> None:
        self._changed.set()
        self._daemon.start()

    async def _run(self) -> None:
        while not self._closed:
            if self._placement.attempts:
                await asyncio.sleep(backoff(self._placement.attempts, LONGEST_PAUSE))
            else:
                await self._changed.wait()
            self._changed.clear()
            with self._placement.round():
                self._carry_out(self._placement.arrivals())
                if self._placement.needs_routes:
                    if self._runners:
                        await asyncio.sleep(RETURN_PAUSE)
                    await self._client.discover(time.monotonic() + CONNECT_SECONDS)
                    self._carry_out(self._placement.orders())

    def _dropped(self, channels: Sequence[str]) -> None:
        self._carry_out(self._placement.dropped_by_server(channels))
        self._wake()

    def _unreachable(self) -> None:
        self._placement.unreachable()
        self._wake()

    def _carry_out(self, orders: Sequence[Order]) -> None:
        for address, subscribe, channels in orders:
            runner = self._runners.get(address)
            if runner is None:
                runner = self._runners[address] = LinkRunner(
                    lambda address=address: self._client.connect_link(address),  # type: ignore[misc]
                    self._new_link(),
                    on_dropped=self._dropped,
                    on_failure=self._unreachable,
                )
            runner.order(subscribe, channels)
        for address in self._runners.keys() - self._placement.used():
            self._runners.pop(address).close()
