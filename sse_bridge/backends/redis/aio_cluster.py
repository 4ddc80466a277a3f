"""The live link to a cluster, for asyncio: a line per primary, and one task that places the channels.

The twin of threads_cluster.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from .aio import Client
from .aio_upstream import Line
from .calls import backoff
from .connecting import CONNECT_SECONDS, LINK_ERRORS
from .link import Link
from .placement import Order, Placement
from .threads_upstream import LONGEST_PAUSE, RETURN_PAUSE
from .urls import Address

log = logging.getLogger("sse_bridge.redis")


class ClusterUpstream:
    """See the module.

    Args:
        client: for its routes and its way to connect.
        new_link: makes the conversation for one more primary.
    """

    def __init__(self, client: Client, new_link: Callable[[], Link]) -> None:
        self._client = client
        self._new_link = new_link
        self._placement = Placement(client.routes)
        self._lines: dict[Address, Line] = {}
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, channels: Sequence[str]) -> None:
        self._placement.want(channels)
        self._wake()

    def unsubscribe(self, channels: Sequence[str]) -> None:
        self._carry_out(self._placement.drop(channels))

    def close(self) -> None:
        self._closed = True
        for line in self._lines.values():
            line.close()
        if self._task is not None and not self._loop.is_closed():
            self._task.cancel()

    def _wake(self) -> None:
        self._changed.set()
        if self._task is None and not self._closed:
            self._task = self._loop.create_task(self._run(), name="sse_bridge-redis-placement")

    async def _run(self) -> None:
        attempt = 0
        while not self._closed:
            if attempt:
                await asyncio.sleep(backoff(attempt, LONGEST_PAUSE))
            else:
                await self._changed.wait()
            self._changed.clear()
            try:
                if self._placement.needs_routes:
                    if self._lines:
                        await asyncio.sleep(RETURN_PAUSE)
                    self._client.routes.forget()
                    await self._client.discover(time.monotonic() + CONNECT_SECONDS)
                self._carry_out(self._placement.orders())
                attempt = attempt + 1 if self._placement.needs_routes else 0
            except LINK_ERRORS as error:
                if attempt == 0:
                    log.warning("no cluster node answers: %s", error)
                attempt += 1
            except Exception:
                log.exception("placing subscriptions failed; it is tried again")
                attempt += 1

    def _stray(self, channels: Sequence[str]) -> None:
        self._carry_out(self._placement.stray(channels))
        self._wake()

    def _unreachable(self) -> None:
        self._placement.unreachable()
        self._wake()

    def _carry_out(self, orders: Sequence[Order]) -> None:
        for address, subscribe, channels in orders:
            line = self._lines.get(address)
            if line is None:
                line = self._lines[address] = Line(
                    lambda address=address: self._client.connect(address, CONNECT_SECONDS),  # type: ignore[misc]
                    self._new_link(),
                    on_strays=self._stray,
                    on_failure=self._unreachable,
                )
            line.order(subscribe, channels)
        used = self._placement.used()
        for address in [address for address in self._lines if address not in used]:
            self._lines.pop(address).close()
