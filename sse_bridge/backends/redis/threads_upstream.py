"""The live link for threads and greenlets: one reader thread per connection, plain sockets, no event loop.

Only the reader thread touches the socket, since TLS objects are not safe for two threads. Other threads leave orders in a
queue and wake the reader through a socket pair, so subscribing never blocks.
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

from ...errors import BackendError, SSEBridgeError
from ...runtime import forks
from ...runtime.daemon import Daemon
from .connecting import LINK_ERRORS, READ_SIZE, permanent_error
from .link import LONGEST_PAUSE, PubSubLink
from .threads import Connection

log = logging.getLogger("sse_bridge.redis")

RETURN_PAUSE: Final = 0.05  # seconds before a new look-up: while a slot moves, servers redirect to each other
_NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def check_owner(pid: int) -> None:
    """Raises in a forked child of the process that opened the link, since the child lacks the link's threads."""
    if pid != os.getpid():
        raise BackendError(f"this live link belongs to process {pid} and ended with the fork; open a new one")


class LinkRunner:
    """A thread that keeps one connection alive and lets a `PubSubLink` speak on it: the upstream, where there is one
    server.

    Args:
        sink_lock: held while the sink is called, shared by all runners of an upstream.
        on_dropped: takes the channels that this server gave up, where there is another.
        on_failure: called after each attempt to connect that failed.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        link: PubSubLink,
        sink_lock: threading.RLock,
        on_dropped: Callable[[list[str]], None] = lambda channels: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._link = link
        self._sink_lock = sink_lock
        self._on_dropped = on_dropped
        self._on_failure = on_failure
        self._pid = os.getpid()
        self._forks = forks.count
        self._closed = False
        self._orders: deque[tuple[bool, tuple[str, ...]]] = deque()
        self._inbox, self._outbox = socket.socketpair()
        self._inbox.setblocking(False)
        self._outbox.setblocking(False)
        self._start_lock = threading.RLock()
        self._daemon = Daemon(self._run, "sse_bridge-redis-upstream")

    @property
    def _over(self) -> bool:
        """Whether the line was closed, or its greenlet was copied into a forked child by gevent."""
        return self._closed or self._forks != forks.count

    def order(self, subscribe: bool, channels: Sequence[str]) -> None:
        """Subscribes or unsubscribes; never blocks."""
        check_owner(self._pid)
        if not channels:
            return
        self._orders.append((subscribe, tuple(channels)))
        if not self._daemon.running:
            with self._start_lock:
                if not self._closed:
                    self._daemon.start()
        self._wake()

    def subscribe(self, channels: Sequence[str]) -> None:
        self.order(True, channels)

    def unsubscribe(self, channels: Sequence[str]) -> None:
        self.order(False, channels)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: the thread is awake already; closed: the thread has ended
            self._outbox.send(b"!")

    def stop(self) -> None:
        """Ends the thread soon, without waiting; the sink is not called any more."""
        with self._sink_lock:
            self._closed = True
        if self._pid != os.getpid():
            return
        if self._daemon.running:
            self._wake()
        else:
            self._inbox.close()
            self._outbox.close()

    def close(self) -> None:
        """Stops the thread and waits for its end."""
        self.stop()
        if self._pid == os.getpid():
            self._daemon.join(2 * LONGEST_PAUSE)

    def _run(self) -> None:
        try:
            while not self._over:
                why = "closed"
                fatal: SSEBridgeError | None = None
                try:
                    connection = self._connect()
                except LINK_ERRORS as error:
                    why = f"no connection: {error}"
                    fatal = permanent_error(error)
                    self._on_failure()
                except Exception as error:
                    log.exception("connecting the live link failed unexpectedly; another attempt follows")
                    why = repr(error)
                else:
                    try:
                        self._carry(connection)
                    except LINK_ERRORS as error:
                        why = str(error) or type(error).__name__
                    except Exception as error:  # a bug must not leave the process without a live link
                        log.exception("live link failed unexpectedly; it reconnects")
                        why = repr(error)
                    finally:
                        if self._forks == forks.count:
                            connection.abort()
                        else:
                            connection.close()  # without a reset, since the parent goes on using the connection
                if self._over:
                    break
                with self._sink_lock:
                    pause = 0.0 if self._closed else self._link.lost(why, fatal)
                self._pause(pause)
        finally:
            if self._over:  # a thread ended from outside is replaced at the next order, which needs the sockets
                self._inbox.close()
                self._outbox.close()

    def _pause(self, seconds: float) -> None:
        """Waits, taking orders meanwhile; `close` ends the wait."""
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        while not self._over:
            self._take_orders()
            left = until - time.monotonic()
            if left <= 0:
                return
            if poll.poll(int(left * 1000) + 1) and not self._over:
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

    def _carry(self, connection: Connection) -> None:
        link = self._link
        sock: Any = connection.socket
        sock.setblocking(False)
        pending: Callable[[], int] | None = getattr(sock, "pending", None)  # bytes that TLS has decrypted already
        self._take_orders()
        out = link.opened(time.monotonic())
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        poll.register(sock, select.POLLIN)
        ours = sock.fileno()
        writing = False
        while not self._over:
            now = time.monotonic()
            out += self._take_orders()
            out += link.tick(now)
            if out:
                try:
                    out = out[sock.send(out) :]
                except _NOT_NOW:
                    pass
            if bool(out) != writing:
                writing = bool(out)
                poll.modify(sock, select.POLLIN | select.POLLOUT if writing else select.POLLIN)
            for fd, _ in poll.poll(max(0, int((link.tick_at() - now) * 1000)) + 1):
                if self._over:
                    return
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
        with self._sink_lock:
            if self._closed:
                return
            self._link.received(data, time.monotonic())
        if self._link.dropped:
            dropped, self._link.dropped = self._link.dropped, []
            self._on_dropped(dropped)
