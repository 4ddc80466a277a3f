"""Redis for threads and greenlets: connections of one process, and script calls over them.

A connection carries one exchange at a time and belongs to the caller that took it; dropped in the middle by an exception
out of a signal handler, it is closed and its slot is free. Only plain threading primitives are used, so that under
gevent's monkey patching the same code waits cooperatively.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import redis

from ...runtime.forks import after_fork
from .breaker import PROBE_SECONDS, Breakers
from .call_round import CallRound
from .calls import Call
from .connecting import (
    CONNECT_SECONDS,
    LINK_ERRORS,
    READ_SIZE,
    NotAwayError,
    NotSentError,
    abort_on_close,
    new_connection,
)
from .exchange import Exchange
from .resp import ReplyError, new_reader, pack
from .routes import Discovery, Routes
from .scripts import AWAY, error_code
from .slots import Slot, Slots
from .urls import Address, Target

PING: Final = pack(("PING",))
# More connections would only queue up inside Redis, whose default limit is 10,000 clients over all processes; hundreds of
# greenlets that publish at once take turns.
MAX_CONNECTIONS: Final = 64


class Connection:
    """One connection for exchanges of bytes and replies."""

    socket: Any = None

    def __init__(self, target: Target, address: Address, timeout: float, *, sentinel: bool = False) -> None:
        made = new_connection(redis, target, address, timeout, sentinel=sentinel)
        made.connect()
        self.slot: Slot | None = None
        self._made = made  # kept: its finalizer would swallow an exception out of a signal handler
        self.socket = made._sock
        made._sock = None  # redis-py would close the socket with the connection object
        self.address = address
        self._reader = new_reader()
        self._timeout = timeout
        self.socket.settimeout(timeout)
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)

    def ask(self, command: Sequence[bytes | str]) -> Any:
        """One command and its answer, which may be a `ReplyError`."""
        self.socket.sendall(pack(command))
        return self.reply()

    def send(self, payload: bytes, timeout: float) -> None:
        """Sends the whole payload; raises `NotSentError` if not one byte was taken."""
        if timeout != self._timeout:
            self.socket.settimeout(timeout)
            self._timeout = timeout
        try:
            sent = self.socket.send(payload)
        except OSError as error:
            raise NotSentError(f"{self.address[0]}:{self.address[1]}: {error}") from error
        if sent < len(payload):
            self.socket.sendall(memoryview(payload)[sent:])

    def reply(self) -> Any:
        gets = self._reader.gets
        while (reply := gets()) is False:
            data = self.socket.recv(READ_SIZE)
            if not data:
                raise EOFError(f"{self.address[0]}:{self.address[1]} closed the connection")
            self._reader.feed(data)
        return reply

    @property
    def alive(self) -> bool:
        """False if the server closed the connection or sent unrequested bytes."""
        return not self._poll.poll(0)

    def abort(self) -> None:
        abort_on_close(self.socket)
        self.close()

    def close(self) -> None:
        self.slot = None
        with contextlib.suppress(OSError):
            self.socket.close()

    def __del__(self) -> None:
        if self.socket is not None:
            self.socket.close()


class Client:
    """The connections of this process to one target; after a fork the child starts with none."""

    def __init__(self, target: Target, attempt_seconds: float) -> None:
        self._target = target
        self._attempt_seconds = attempt_seconds
        self._idle: dict[Address, deque[Connection]] = {}
        self._begin()

    def _begin(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                # the child's copy, without shutdown or reset, since the parent goes on using the connection
                connection.close()
        self.routes = Routes(self._target)
        self.breakers = Breakers()
        self._idle = {}
        self.slots = Slots(MAX_CONNECTIONS)
        self._pid = os.getpid()  # last: other threads of the child read it first

    def owned(self) -> Client:
        """This client, reset in a forked child."""
        if self._pid != os.getpid():
            after_fork(self, Client._begin)
        return self

    def run(self, calls: Sequence[Call[Any]], timeout: float) -> None:
        """Runs calls until each has a result or an error, within about `timeout` seconds."""
        if self._pid != os.getpid():
            after_fork(self, Client._begin)
        now = time.monotonic()
        calling = CallRound(calls, now, timeout, self.breakers, self._attempt_seconds)
        try:
            while True:
                known, unknown = calling.groups(self.routes, now)
                if unknown:
                    try:
                        self.discover(calling.deadline_of(None, now))
                    except LINK_ERRORS as error:
                        calling.refuse(None, unknown, error, time.monotonic())
                    else:
                        known = calling.regroup(self.routes, now)
                for address, group in known.items():
                    self._attempt(address, group, calling)
                delay = calling.pause(time.monotonic())
                if delay is None:
                    return
                if delay:
                    time.sleep(delay)
                now = time.monotonic()
        finally:
            if calling.probing:
                calling.end()

    def _attempt(self, address: Address, calls: Sequence[Call[Any]], calling: CallRound) -> None:
        deadline = calling.deadline
        try:
            until = calling.deadline_of(address, time.monotonic()) if calling.probing else calling.deadline
            connection = self._take(address, until)
            if calling.probing and calling.probes(address):
                self._ping(connection)
                calling.ponged(address)
        except LINK_ERRORS as error:
            calling.refuse(address, calls, error, time.monotonic())
            self.routes.forget(address)
            return
        now = time.monotonic()
        exchange = Exchange(calls, address, now)
        try:
            connection.send(exchange.payload, max(0.05, min(self._attempt_seconds, deadline - now)))
            while exchange.waiting:
                exchange.replied(connection.reply())
        except LINK_ERRORS as error:
            connection.abort()
            self.slots.wake()
            if isinstance(error, NotSentError):
                calling.refuse(address, calls, error, now)
            else:
                exchange.broke(error)
            self.routes.forget(address)
            return
        except BaseException:
            # a greenlet killed in between: the next user of this connection would read these calls' answers
            connection.abort()
            self.slots.wake()
            raise
        if exchange.wrong_routes:
            self.routes.forget(address)
        if calls[0].done or any([call.done for call in calls]):
            self.breakers.answered(address, now, calls[0].writes)
        self._give(connection)

    def _ping(self, connection: Connection) -> None:
        """Raises unless the server answers PING without an error."""
        try:
            connection.send(PING, PROBE_SECONDS)
            reply = connection.reply()
        except BaseException:
            connection.abort()
            self.slots.wake()
            raise
        if isinstance(reply, ReplyError) and error_code(str(reply)) in AWAY:
            self._give(connection)
            raise ConnectionError(str(reply))

    def _take(self, address: Address, deadline: float) -> Connection:
        idle = self._idle.get(address)
        if idle is None:
            idle = self._idle.setdefault(address, deque())
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                break
            # An append sent on a connection that Redis or a proxy has closed would have an uncertain outcome.
            if connection.alive:
                return connection
            connection.close()
        slot = self.slots.take() or self._wait(idle, deadline)
        if isinstance(slot, Connection):
            return slot
        try:
            connection = self.connect(address, max(0.05, deadline - time.monotonic()))
        except BaseException:
            del slot
            self.slots.wake()
            raise
        connection.slot = slot
        return connection

    def _wait(self, idle: deque[Connection], deadline: float) -> Slot | Connection:
        """Waits for a free slot, or for an idle connection to the same server."""
        while True:
            room = self.slots.queue()
            try:
                with contextlib.suppress(IndexError):
                    return idle.pop()
                with contextlib.suppress(IndexError):
                    next((connections for connections in self._idle.values() if connections), idle).popleft().close()
                slot = self.slots.take()
                if slot is not None:
                    return slot
                left = deadline - time.monotonic()
                if left <= 0:
                    raise NotAwayError(f"all {MAX_CONNECTIONS} connections of this process stayed busy")
                self.slots.wait(room, left)
            finally:
                self.slots.leave(room)

    def _give(self, connection: Connection) -> None:
        self._idle.setdefault(connection.address, deque()).append(connection)
        if self.slots.waiting:
            self.slots.wake()

    def connect(self, address: Address, timeout: float) -> Connection:
        """A new connection, owned by the caller."""
        connection = Connection(self._target, address, min(timeout, self._attempt_seconds))
        if self._target.kind == "sentinel":
            try:
                self.routes.check_primary(address, connection.ask(("ROLE",)))
            except LINK_ERRORS:
                connection.close()
                raise
        return connection

    def connect_link(self, address: Address) -> Connection:
        """A new connection for a live link; its success closes the server's breaker."""
        connection = self.connect(address, CONNECT_SECONDS)
        self.breakers.answered(address, time.monotonic())
        return connection

    def connect_primary(self) -> Connection:
        """A new connection to the single primary, for the live link; Sentinels are asked each time."""
        if self._target.kind == "sentinel":
            self.discover(time.monotonic() + CONNECT_SECONDS)
        address = self.routes.primary()
        try:
            return self.connect_link(address)
        except LINK_ERRORS:
            self.routes.forget(address)
            raise

    def discover(self, deadline: float) -> None:
        """Asks Sentinels or cluster nodes until one answers; raises the last error."""
        discovery = Discovery(self.routes, self.breakers, deadline)
        for address, timeout in discovery:
            try:
                connection = Connection(self._target, address, timeout, sentinel=self._target.kind == "sentinel")
                try:
                    reply = connection.ask(self.routes.question)
                finally:
                    connection.close()
            except LINK_ERRORS as error:
                discovery.failed(address, error)
            else:
                discovery.answered(address, reply)
        discovery.end()

    def close(self) -> None:
        """Closes the idle connections; those in use are closed by a later call."""
        for connections in list(self.owned()._idle.values()):
            while connections:
                with contextlib.suppress(IndexError):
                    connections.pop().close()
                    self.slots.wake()
