"""The live link for threads and greenlets: one reader thread per connection, plain sockets, no event loop.

Only the reader thread touches the socket (TLS objects are not safe for two threads). Everyone else leaves orders in a
queue and wakes it through a socket pair, so subscribing never waits for anything.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from ...errors import BackendError
from .calls import backoff
from .connecting import LINK_ERRORS, READ_SIZE
from .link import Link
from .threads import Client, Wire

log = logging.getLogger("sse_bridge.redis")

LONGEST_PAUSE: Final = 2.0  # seconds between attempts to connect: readers notice that Redis is back this late at worst
RETURN_PAUSE: Final = 0.05  # before looking where a channel is now: while a slot moves, servers send it to and fro
STRAY_PAUSE: Final = 1.0  # before asking again for a channel that Redis refused
_NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def check_owner(pid: int) -> None:
    """Raises if this is a forked child of the process that opened the link: its threads did not come along."""
    if pid != os.getpid():
        raise BackendError(f"this live link belongs to process {pid} and ended with the fork; open a new one")


class Line:
    """A thread that keeps one connection alive and lets a `Link` speak on it.

    Args:
        connect: makes a connection; may block and raise.
        link: the conversation.
        guard: held while the sink is called, shared by all lines of an upstream.
        on_strays: who decides about channels that this server gave up; None: ask again here.
        on_failure: called after each attempt to connect that failed.
    """

    def __init__(
        self,
        connect: Callable[[], Wire],
        link: Link,
        guard: threading.RLock,
        on_strays: Callable[[list[str]], None] | None = None,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        self._connect = connect
        self._link = link
        self._guard = guard
        self._on_strays = on_strays
        self._on_failure = on_failure
        self._pid = os.getpid()
        self._closed = False
        self._orders: deque[tuple[bool, tuple[str, ...]]] = deque()
        self._ask_again: deque[tuple[float, tuple[str, ...]]] = deque()
        self._inbox, self._outbox = socket.socketpair()
        self._inbox.setblocking(False)
        self._outbox.setblocking(False)
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def channels(self) -> list[str]:
        return list(self._link.wanted.values())

    def order(self, subscribe: bool, channels: Sequence[str]) -> None:
        """Subscribes or unsubscribes; never blocks."""
        check_owner(self._pid)
        if not channels:
            return
        self._orders.append((subscribe, tuple(channels)))
        if self._thread is None:
            with self._start_lock:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._run, name="sse_bridge-redis-upstream", daemon=True)
                    self._thread.start()
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake already; closed: nobody is left
            self._outbox.send(b"!")

    def stop(self) -> None:
        """From now on the sink is not called; the thread ends soon, in its own time."""
        with self._guard:
            self._closed = True
        if self._pid != os.getpid():
            return
        if self._thread is None:
            self._inbox.close()
            self._outbox.close()
        else:
            self._wake()

    def close(self) -> None:
        """Stops, and waits for the thread."""
        self.stop()
        thread = self._thread
        if thread is not None and self._pid == os.getpid() and thread is not threading.current_thread():
            thread.join(2 * LONGEST_PAUSE)

    def _run(self) -> None:
        attempt = 0
        try:
            while not self._closed:
                why = "closed"
                try:
                    wire = self._connect()
                except LINK_ERRORS as error:
                    why = f"no connection: {error}"
                    if self._on_failure is not None:
                        self._on_failure()
                else:
                    try:
                        self._carry(wire)
                    except LINK_ERRORS as error:
                        why = str(error) or type(error).__name__
                    except Exception as error:  # a bug must not end the link for the rest of the process
                        log.exception("the live link failed; it begins anew")
                        why = repr(error)
                    finally:
                        wire.abort()
                    if self._link.fruitful:
                        attempt = 0
                if self._closed:
                    break
                if attempt == 0:
                    log.warning("live link lost: %s", why)
                attempt += 1
                with self._guard:
                    if not self._closed:
                        self._link.lost(why)
                self._pause(backoff(attempt, LONGEST_PAUSE))
        finally:
            self._inbox.close()
            self._outbox.close()

    def _pause(self, seconds: float) -> None:
        """Waits, and notes orders meanwhile; `close` ends it."""
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        while not self._closed:
            self._take_orders()
            left = until - time.monotonic()
            if left <= 0:
                return
            if poll.poll(int(left * 1000) + 1):
                self._drain_inbox()

    def _take_orders(self) -> bytes:
        sent = b""
        while self._orders:
            subscribe, channels = self._orders.popleft()
            sent += self._link.subscribe(channels) if subscribe else self._link.unsubscribe(channels)
        return sent

    def _drain_inbox(self) -> None:
        with contextlib.suppress(*_NOT_NOW):
            self._inbox.recv(4096)

    def _carry(self, wire: Wire) -> None:
        link = self._link
        sock: Any = wire.socket
        sock.setblocking(False)
        pending: Callable[[], int] | None = getattr(sock, "pending", None)  # what TLS has decrypted already
        self._take_orders()
        out = link.opened(time.monotonic())
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        poll.register(sock, select.POLLIN)
        ours = sock.fileno()
        writing = False
        while not self._closed:
            now = time.monotonic()
            out += self._take_orders()
            out += link.due(now)
            while self._ask_again and self._ask_again[0][0] <= now:
                out += link.subscribe([c for c in self._ask_again.popleft()[1] if c in link.wanted.values()])
            if out:
                try:
                    out = out[sock.send(out) :]
                except _NOT_NOW:
                    pass
            if bool(out) != writing:
                writing = bool(out)
                poll.modify(sock, select.POLLIN | select.POLLOUT if writing else select.POLLIN)
            until = min(link.due_at(), self._ask_again[0][0]) if self._ask_again else link.due_at()
            for fd, _ in poll.poll(max(0, int((until - now) * 1000)) + 1):
                if fd != ours:
                    self._drain_inbox()
                    continue
                self._receive(sock)
                while pending is not None and pending():
                    self._receive(sock)

    def _receive(self, sock: Any) -> None:
        try:
            data = sock.recv(READ_SIZE)
        except _NOT_NOW:
            return
        if not data:
            raise EOFError("Redis closed the connection")
        with self._guard:
            if self._closed:
                return
            self._link.received(data, time.monotonic())
        if self._link.strays:
            strays, self._link.strays = self._link.strays, []
            if self._on_strays is not None:
                self._on_strays(strays)
            else:
                self._ask_again.append((time.monotonic() + STRAY_PAUSE, tuple(strays)))


class SingleUpstream:
    """The link to one server, or to whichever the Sentinels call primary.

    Args:
        client: for its way to connect.
        link: the conversation.
    """

    def __init__(self, client: Client, link: Link) -> None:
        self._client = client
        self._line = Line(self._connect, link, threading.RLock())

    def _connect(self) -> Wire:
        return self._client.connect_primary()

    def subscribe(self, channels: Sequence[str]) -> None:
        self._line.order(True, channels)

    def unsubscribe(self, channels: Sequence[str]) -> None:
        self._line.order(False, channels)

    def close(self) -> None:
        self._line.close()
