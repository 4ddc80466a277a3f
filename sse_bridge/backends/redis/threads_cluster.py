"""The live link to a cluster, for threads and greenlets: a `LinkRunner` per primary, and one thread that places the
channels."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence

from ...runtime import forks
from ...runtime.daemon import Daemon
from .calls import backoff
from .connecting import CONNECT_SECONDS
from .link import LONGEST_PAUSE, PubSubLink
from .placement import Order, Placement
from .threads import Client
from .threads_upstream import RETURN_PAUSE, LinkRunner, check_owner
from .urls import Address


class ClusterUpstream:
    """The links to all primaries of a cluster; `new_link` makes that of one more."""

    def __init__(self, client: Client, new_link: Callable[[], PubSubLink]) -> None:
        self._client = client
        self._new_link = new_link
        self._pid = os.getpid()
        self._forks = forks.count
        self._placement = Placement(client.routes)
        self._runners: dict[Address, LinkRunner] = {}
        self._sink_lock = threading.RLock()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._closed = False
        self._daemon = Daemon(self._run, "sse_bridge-redis-placement")
        self._start_lock = threading.RLock()

    def subscribe(self, channels: Sequence[str]) -> None:
        wanted = tuple(channels)
        self._later(lambda: self._placement.want(wanted))

    def unsubscribe(self, channels: Sequence[str]) -> None:
        unwanted = tuple(channels)
        self._later(lambda: self._carry_out(self._placement.drop(unwanted)))

    def close(self) -> None:
        with self._sink_lock:
            self._closed = True
            for runner in self._runners.values():
                runner.stop()
        if self._pid == os.getpid():
            self._inbox.put(lambda: None)
            self._daemon.join(2 * CONNECT_SECONDS)

    def _later(self, job: Callable[[], None]) -> None:
        check_owner(self._pid)
        self._inbox.put(job)
        if not self._daemon.running:
            with self._start_lock:
                if not self._closed:
                    self._daemon.start()

    def _run(self) -> None:
        try:
            while not (self._closed or self._forks != forks.count):  # gevent copies greenlets into a child
                attempts = self._placement.attempts
                pause = backoff(attempts, LONGEST_PAUSE) if attempts else None
                with contextlib.suppress(queue.Empty):
                    self._inbox.get(timeout=pause)()
                    while True:
                        self._inbox.get_nowait()()
                with self._placement.round():
                    self._carry_out(self._placement.arrivals())
                    if self._placement.needs_routes:
                        if self._runners:
                            time.sleep(RETURN_PAUSE)
                        self._client.discover(time.monotonic() + CONNECT_SECONDS)
                        self._carry_out(self._placement.orders())
        finally:
            for runner in self._runners.values():
                runner.close()  # without effect in a child

    def _carry_out(self, orders: Sequence[Order]) -> None:
        for address, subscribe, channels in orders:
            with self._sink_lock:
                if self._closed:
                    return
                runner = self._runners.get(address)
                if runner is None:
                    runner = self._runners[address] = self._new_runner(address)
            runner.order(subscribe, channels)
        for address in self._runners.keys() - self._placement.used():
            self._runners.pop(address).stop()

    def _new_runner(self, address: Address) -> LinkRunner:
        return LinkRunner(
            lambda: self._client.connect_link(address),
            self._new_link(),
            self._sink_lock,
            on_dropped=lambda names: self._later(lambda: self._carry_out(self._placement.dropped_by_server(names))),
            on_failure=lambda: self._later(self._placement.unreachable),
        )
