"""The live link to a cluster, for threads and greenlets: a line per primary, and one thread that places the channels."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence

from .calls import backoff
from .connecting import CONNECT_SECONDS, LINK_ERRORS
from .link import Link
from .placement import Order, Placement
from .threads import Client
from .threads_upstream import LONGEST_PAUSE, RETURN_PAUSE, Line, check_owner
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
        self._pid = os.getpid()
        self._placement = Placement(client.routes)
        self._lines: dict[Address, Line] = {}
        self._guard = threading.RLock()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()

    def subscribe(self, channels: Sequence[str]) -> None:
        wanted = tuple(channels)
        self._later(lambda: self._placement.want(wanted))

    def unsubscribe(self, channels: Sequence[str]) -> None:
        unwanted = tuple(channels)
        self._later(lambda: self._carry_out(self._placement.drop(unwanted)))

    def close(self) -> None:
        with self._guard:
            self._closed = True
            for line in self._lines.values():
                line.stop()
        thread = self._thread
        if thread is None or self._pid != os.getpid():
            return
        self._inbox.put(lambda: None)
        if thread is not threading.current_thread():
            thread.join(2 * CONNECT_SECONDS)

    def _later(self, job: Callable[[], None]) -> None:
        check_owner(self._pid)
        self._inbox.put(job)
        if self._thread is None:
            with self._start_lock:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._run, name="sse_bridge-redis-placement", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        attempt = 0
        try:
            while not self._closed:
                pause = None if attempt == 0 else backoff(attempt, LONGEST_PAUSE)
                with contextlib.suppress(queue.Empty):
                    self._inbox.get(timeout=pause)()
                    while True:
                        self._inbox.get_nowait()()
                try:
                    if self._placement.needs_routes:
                        if self._lines:
                            time.sleep(RETURN_PAUSE)
                        self._client.routes.forget()
                        self._client.discover(time.monotonic() + CONNECT_SECONDS)
                    self._carry_out(self._placement.orders())
                    attempt = attempt + 1 if self._placement.needs_routes else 0
                except LINK_ERRORS as error:
                    if attempt == 0:
                        log.warning("no cluster node answers: %s", error)
                    attempt += 1
                except Exception:
                    log.exception("placing subscriptions failed; it is tried again")
                    attempt += 1
        finally:
            for line in self._lines.values():
                line.close()

    def _carry_out(self, orders: Sequence[Order]) -> None:
        for address, subscribe, channels in orders:
            with self._guard:
                if self._closed:
                    return
                line = self._lines.get(address)
                if line is None:
                    line = self._lines[address] = self._new_line(address)
            line.order(subscribe, channels)
        used = self._placement.used()
        for address in [address for address in self._lines if address not in used]:
            self._lines.pop(address).stop()

    def _new_line(self, address: Address) -> Line:
        return Line(
            lambda: self._client.connect(address, CONNECT_SECONDS),
            self._new_link(),
            self._guard,
            on_strays=lambda names: self._later(lambda: self._carry_out(self._placement.stray(names))),
            on_failure=lambda: self._later(self._placement.unreachable),
        )
