"""Redis for threads and greenlets: connections of one process, and script calls over them.

A connection carries one exchange at a time and belongs to whoever took it. Only plain threading primitives are used, so
under gevent's monkey patching the same code waits cooperatively.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import redis

from ...forks import after_fork
from .calls import Call, Effort, refuse
from .connecting import CONNECT_SECONDS, LINK_ERRORS, READ_SIZE, NotSentError, abort_on_close, connection_arguments
from .exchange import Exchange
from .resp import ReplyError, new_reader, pack
from .routes import Routes
from .urls import Address, Target

# A connection waits for one answer at a time; more than this would only queue up inside Redis, whose default limit is
# 10,000 clients over all processes. Hundreds of greenlets that publish at once take turns.
MAX_CONNECTIONS: Final = 64


class Wire:
    """One connection: bytes out, replies in."""

    def __init__(self, target: Target, address: Address, timeout: float, *, sentinel: bool = False) -> None:
        kind = redis.SSLConnection if target.tls else redis.Connection
        connection: Any = kind(**connection_arguments(target, address, timeout, sentinel=sentinel))
        connection.connect()
        self.socket: Any = connection._sock
        connection._sock = None  # it is ours now; redis-py would close it with the connection object
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
        """Sends all of it; raises `NotSentError` if not one byte was taken."""
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
        """False when the other side closed it, or sent what nobody asked for."""
        return not self._poll.poll(0)

    def abort(self) -> None:
        abort_on_close(self.socket)
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()


class Client:
    """The connections of this process to one target; after a fork the child starts with none.

    Args:
        target: where.
        attempt_seconds: how long one attempt waits for its answer.
    """

    def __init__(self, target: Target, attempt_seconds: float) -> None:
        self._target = target
        self._attempt_seconds = attempt_seconds
        self._idle: dict[Address, deque[Wire]] = {}
        self._begin()

    def _begin(self) -> None:
        for wires in self._idle.values():
            for wire in wires:
                wire.close()  # our copy only: no shutdown and no reset, the parent goes on using it
        self.routes = Routes(self._target)
        self._idle = {}
        self._open = 0
        self._waiting = 0
        self._changed = threading.Condition()
        self._pid = os.getpid()  # last: other threads of the child look at it first

    def run(self, calls: Sequence[Call[Any]], timeout: float) -> None:
        """Carries calls to their end: each has a result or an error within about `timeout` seconds."""
        if self._pid != os.getpid():
            after_fork(self, Client._begin)
        effort = Effort(calls, time.monotonic(), timeout)
        while True:
            known, unknown = effort.groups(self.routes)
            if unknown:
                try:
                    self.discover(effort.deadline)
                except LINK_ERRORS as error:
                    refuse(unknown, error)
                else:
                    known, unknown = effort.groups(self.routes)
                    refuse(unknown, ConnectionError("no known server is in charge of this channel"))
            for address, group in known.items():
                self._attempt(address, group, effort.deadline)
            delay = effort.pause(time.monotonic())
            if delay is None:
                return
            if delay:
                time.sleep(delay)

    def _attempt(self, address: Address, calls: Sequence[Call[Any]], deadline: float) -> None:
        try:
            wire = self._take(address, deadline)
        except LINK_ERRORS as error:
            refuse(calls, error)
            self.routes.forget()
            return
        now = time.monotonic()
        exchange = Exchange(calls, address, now)
        try:
            wire.send(exchange.payload, max(0.05, min(self._attempt_seconds, deadline - now)))
            while exchange.open:
                exchange.replied(wire.reply())
        except LINK_ERRORS as error:
            wire.abort()
            self._gone()
            if isinstance(error, NotSentError):
                refuse(calls, error)
            else:
                exchange.broke(error)
            self.routes.forget()
            return
        except BaseException:
            # a greenlet was killed in between: the answers on this connection belong to nobody now
            wire.abort()
            self._gone()
            raise
        if exchange.wrong_routes:
            self.routes.forget()
        self._give(wire)

    def _take(self, address: Address, deadline: float) -> Wire:
        idle = self._idle.get(address)
        if idle is None:
            idle = self._idle.setdefault(address, deque())
        while True:
            try:
                wire = idle.pop()
            except IndexError:
                break
            # An append that meets a connection which Redis or a proxy closed meanwhile would have an unknown fate.
            if wire.alive:
                return wire
            wire.close()
            self._gone()
        with self._changed:
            self._waiting += 1
            try:
                while self._open >= MAX_CONNECTIONS:
                    if idle:
                        with contextlib.suppress(IndexError):
                            return idle.pop()
                    spare = next((wires for wires in self._idle.values() if wires), None)
                    if spare is not None:
                        with contextlib.suppress(IndexError):
                            spare.popleft().close()
                            self._open -= 1
                            continue
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        raise TimeoutError(f"all {MAX_CONNECTIONS} connections of this process are busy")
                self._open += 1
            finally:
                self._waiting -= 1
        try:
            return self.connect(address, max(0.05, deadline - time.monotonic()))
        except BaseException:
            self._gone()
            raise

    def _give(self, wire: Wire) -> None:
        self._idle.setdefault(wire.address, deque()).append(wire)
        if self._waiting:
            with self._changed:
                self._changed.notify()

    def _gone(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify()

    def connect(self, address: Address, timeout: float) -> Wire:
        """A new connection that this object does not keep."""
        wire = Wire(self._target, address, min(timeout, self._attempt_seconds))
        if self._target.kind == "sentinel":
            # the Sentinels may still name a primary that has been demoted
            try:
                role = wire.ask(("ROLE",))
            except LINK_ERRORS:
                wire.close()
                raise
            if not isinstance(role, ReplyError) and role[0] != b"master":
                wire.close()
                raise ConnectionError(f"{address[0]}:{address[1]} is no primary any more, its role is {role[0]!r}")
        return wire

    def connect_primary(self) -> Wire:
        """A new connection to the one primary, for the live link; where there are Sentinels they are asked each time."""
        self.routes.forget()
        if not self.routes.primaries():
            self.discover(time.monotonic() + CONNECT_SECONDS)
        return self.connect(self.routes.primaries().pop(), CONNECT_SECONDS)

    def discover(self, deadline: float) -> None:
        """Asks Sentinels or cluster nodes until one answers; raises the last error."""
        trouble: BaseException = ConnectionError("no server to ask")
        for address in self.routes.candidates():
            timeout = min(1.0, deadline - time.monotonic())
            if timeout <= 0:
                break
            try:
                wire = Wire(self._target, address, timeout, sentinel=self._target.kind == "sentinel")
                try:
                    reply = wire.ask(self.routes.question)
                finally:
                    wire.close()
            except LINK_ERRORS as error:
                trouble = error
                continue
            if self.routes.learned(reply, address):
                return
            trouble = ConnectionError(
                f"{address[0]}:{address[1]} answered {self.routes.question!r} with {reply!r:.200}"
            )
        raise trouble

    def close(self) -> None:
        """Closes the idle connections; those in use are closed by a later call."""
        if self._pid != os.getpid():
            after_fork(self, Client._begin)
        for wires in list(self._idle.values()):
            while wires:
                with contextlib.suppress(IndexError):
                    wires.pop().close()
                    self._gone()
