"""Redis for asyncio: connections of one event loop, and script calls over them. The twin of threads.py."""

from __future__ import annotations

import asyncio
import contextlib
import select
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import redis.asyncio

from .breaker import PROBE_SECONDS, Breakers
from .call_round import CallRound
from .calls import Call
from .connecting import CONNECT_SECONDS, LINK_ERRORS, READ_SIZE, abort_on_close, new_connection
from .exchange import Exchange
from .resp import ReplyError, new_reader, pack
from .routes import Discovery, Routes
from .scripts import AWAY, error_code
from .urls import Address, Target

PING: Final = ("PING",)
# Appends of a loop share two connections per server; more reads at once than this would only wait inside Redis.
MAX_CONNECTIONS: Final = 32


class Connection:
    """One connection for exchanges of bytes and replies; belongs to the loop that opened it."""

    def __init__(self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.address = address
        self.reader = reader
        self.writer = writer
        self._replies = new_reader()
        self._late = False
        self._poll = select.poll()
        self._poll.register(writer.get_extra_info("socket").fileno(), select.POLLIN)

    @classmethod
    async def open(cls, target: Target, address: Address, timeout: float, *, sentinel: bool = False) -> Connection:
        made = new_connection(redis.asyncio, target, address, timeout, sentinel=sentinel)
        try:
            await made.connect()
            return cls(address, made._reader, made._writer)
        except BaseException:
            if made._writer is not None:
                made._writer.transport.abort()
            raise
        finally:
            made._reader = made._writer = None  # redis-py would close both at its end, or complain

    async def exchange(self, exchange: Exchange, timeout: float) -> None:
        """Sends the payload and passes replies to `exchange`, within `timeout` seconds."""
        handle = asyncio.get_running_loop().call_later(timeout, self._expire)
        try:
            self.writer.write(exchange.payload)
            gets = self._replies.gets
            while exchange.waiting:
                while (reply := gets()) is False:
                    data = await self.reader.read(READ_SIZE)
                    if not data:
                        raise self._end()
                    self._replies.feed(data)
                exchange.replied(reply)
        finally:
            handle.cancel()

    async def ask(self, command: Sequence[bytes | str], timeout: float) -> Any:
        """One command and its answer, which may be a `ReplyError`."""
        self.writer.write(pack(command))
        return await self.reply(timeout)

    async def reply(self, timeout: float) -> Any:
        handle = asyncio.get_running_loop().call_later(timeout, self._expire)
        try:
            while (reply := self._replies.gets()) is False:
                data = await self.reader.read(READ_SIZE)
                if not data:
                    raise self._end()
                self._replies.feed(data)
            return reply
        finally:
            handle.cancel()

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Passes all further bytes to `protocol`, for good; raises if the connection has ended, which `protocol` would miss."""
        self.writer.transport.set_protocol(protocol)
        if self._ended:
            raise self._end()

    def _expire(self) -> None:
        self._late = True
        self.abort()

    def _end(self) -> Exception:
        host, port = self.address
        if self._late:
            return TimeoutError(f"{host}:{port} did not answer in time")
        return EOFError(f"{host}:{port} closed the connection")

    @property
    def alive(self) -> bool:
        """False if the server closed the connection or sent unrequested bytes, even if the loop has not noticed yet."""
        return not self._ended and not self._poll.poll(0)

    @property
    def _ended(self) -> bool:
        return self.reader.at_eof() or self.reader.exception() is not None or self.writer.transport.is_closing()

    def abort(self) -> None:
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            abort_on_close(sock)
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(*LINK_ERRORS):
            await self.writer.wait_closed()


class Client:
    """The connections of one loop to one target, for that loop only; routes and breakers are those of the process."""

    def __init__(self, target: Target, attempt_seconds: float, routes: Routes, breakers: Breakers) -> None:
        self._target = target
        self._attempt_seconds = attempt_seconds
        self._idle: dict[Address, deque[Connection]] = {}
        self.breakers = breakers
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)
        self.routes = routes

    async def run(self, calls: Sequence[Call[Any]], timeout: float) -> None:
        """Runs calls until each has a result or an error, within about `timeout` seconds.

        Cancelling leaves calls without an outcome: those sent may have been executed.
        """
        now = time.monotonic()
        calling = CallRound(calls, now, timeout, self.breakers, self._attempt_seconds)
        try:
            while True:
                known, unknown = calling.groups(self.routes, now)
                if unknown:
                    try:
                        await self.discover(calling.deadline_of(None, now))
                    except LINK_ERRORS as error:
                        calling.refuse(None, unknown, error, time.monotonic())
                    else:
                        known = calling.regroup(self.routes, now)
                if len(known) == 1:
                    for address, group in known.items():
                        await self._attempt(address, group, calling)
                else:
                    await asyncio.gather(*[self._attempt(*item, calling) for item in known.items()])
                delay = calling.pause(time.monotonic())
                if delay is None:
                    return
                if delay:
                    await asyncio.sleep(delay)
                now = time.monotonic()
        finally:
            if calling.probing:
                calling.end()

    async def _attempt(self, address: Address, calls: Sequence[Call[Any]], calling: CallRound) -> None:
        async with self._turns:
            try:
                until = calling.deadline_of(address, time.monotonic()) if calling.probing else calling.deadline
                connection = await self._take(address, until)
                if calling.probing and calling.probes(address):
                    await self._ping(connection)
                    calling.ponged(address)
            except LINK_ERRORS as error:
                calling.refuse(address, calls, error, time.monotonic())
                self.routes.forget(address)
                return
            deadline = calling.deadline
            now = time.monotonic()
            exchange = Exchange(calls, address, now)
            try:
                await connection.exchange(exchange, max(0.05, min(self._attempt_seconds, deadline - now)))
            except LINK_ERRORS as error:
                connection.abort()
                exchange.broke(error)
                self.routes.forget(address)
                return
            except BaseException:
                # cancelled in between: the next user of this connection would read these calls' answers
                connection.abort()
                raise
        if exchange.wrong_routes:
            self.routes.forget(address)
        if calls[0].done or any([call.done for call in calls]):
            self.breakers.answered(address, now, calls[0].writes)
        self._idle.setdefault(address, deque()).append(connection)

    async def _ping(self, connection: Connection) -> None:
        """Raises unless the server answers PING without an error."""
        try:
            reply = await connection.ask(PING, PROBE_SECONDS)
        except BaseException:
            connection.abort()
            raise
        if isinstance(reply, ReplyError) and error_code(str(reply)) in AWAY:
            await connection.close()
            raise ConnectionError(str(reply))

    async def _take(self, address: Address, deadline: float) -> Connection:
        idle = self._idle.get(address)
        while idle:
            connection = idle.pop()
            if connection.alive:
                return connection
            connection.abort()
        return await self.connect(address, max(0.05, deadline - time.monotonic()))

    async def connect(self, address: Address, timeout: float) -> Connection:
        """A new connection, owned by the caller."""
        timeout = min(timeout, self._attempt_seconds)
        connection = await Connection.open(self._target, address, timeout)
        if self._target.kind == "sentinel":
            try:
                self.routes.check_primary(address, await connection.ask(("ROLE",), timeout))
            except BaseException:
                connection.abort()
                raise
        return connection

    async def connect_link(self, address: Address) -> Connection:
        """A new connection for a live link; its success closes the server's breaker."""
        connection = await self.connect(address, CONNECT_SECONDS)
        self.breakers.answered(address, time.monotonic())
        return connection

    async def connect_primary(self) -> Connection:
        """A new connection to the single primary, for the live link; Sentinels are asked each time."""
        if self._target.kind == "sentinel":
            await self.discover(time.monotonic() + CONNECT_SECONDS)
        address = self.routes.primary()
        try:
            return await self.connect_link(address)
        except LINK_ERRORS:
            self.routes.forget(address)
            raise

    async def discover(self, deadline: float) -> None:
        """Asks Sentinels or cluster nodes until one answers; raises the last error."""
        discovery = Discovery(self.routes, self.breakers, deadline)
        for address, timeout in discovery:
            try:
                connection = await Connection.open(
                    self._target, address, timeout, sentinel=self._target.kind == "sentinel"
                )
                try:
                    reply = await connection.ask(self.routes.question, timeout)
                finally:
                    await connection.close()
            except LINK_ERRORS as error:
                discovery.failed(address, error)
            else:
                discovery.answered(address, reply)
        discovery.end()

    async def close(self) -> None:
        """Closes the idle connections and waits until they are."""
        connections = [connection for idle in self._idle.values() for connection in idle]
        self._idle.clear()
        for connection in connections:  # all before the first wait: if this is cancelled, no reference to them is left
            connection.writer.close()
        await asyncio.gather(*[connection.close() for connection in connections])

    def abandon(self) -> None:
        """Ends the connections of a closed loop on the wire; the loop's end frees their memory."""
        for idle in self._idle.values():
            for connection in idle:
                sock = connection.writer.get_extra_info("socket")
                # uvloop's sockets have no shutdown (TypeError), and its closed loop has closed them
                with contextlib.suppress(OSError, AttributeError, TypeError):
                    sock.shutdown(2)
        self._idle.clear()
