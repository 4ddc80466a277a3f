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

from .calls import Call, Effort, refuse
from .connecting import CONNECT_SECONDS, LINK_ERRORS, READ_SIZE, abort_on_close, connection_arguments
from .exchange import Exchange
from .resp import ReplyError, new_reader, pack
from .routes import Routes
from .urls import Address, Target

# Appends of a loop share two connections per server; reads take one each, and more of them at once only wait in Redis.
MAX_CONNECTIONS: Final = 32


class Wire:
    """One connection: bytes out, replies in. Belongs to the loop it was opened on."""

    def __init__(self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.address = address
        self.reader = reader
        self.writer = writer
        self._replies = new_reader()
        self._late = False
        self._poll = select.poll()
        self._poll.register(writer.get_extra_info("socket").fileno(), select.POLLIN)

    @classmethod
    async def open(cls, target: Target, address: Address, timeout: float, *, sentinel: bool = False) -> Wire:
        kind = redis.asyncio.SSLConnection if target.tls else redis.asyncio.Connection
        connection: Any = kind(**connection_arguments(target, address, timeout, sentinel=sentinel))
        try:
            await connection.connect()
            return cls(address, connection._reader, connection._writer)
        except BaseException:
            if connection._writer is not None:
                connection._writer.transport.abort()
            raise
        finally:
            connection._reader = connection._writer = None  # they are ours; redis-py would close them, or complain

    async def exchange(self, exchange: Exchange, timeout: float) -> None:
        """Sends, and hands on the replies; at most `timeout` seconds."""
        handle = asyncio.get_running_loop().call_later(timeout, self._expire)
        try:
            self.writer.write(exchange.payload)
            gets = self._replies.gets
            while exchange.open:
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
        """From now on `protocol` gets what arrives; nothing can be asked on this connection any more.

        Raises:
            EOFError: the end has come already, and nobody would tell it.
        """
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
        """False when the other side closed it, or sent what nobody asked for; the loop may not have noticed yet."""
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
    """The connections of one loop to one target; used on that loop only.

    Args:
        target: where.
        attempt_seconds: how long one attempt waits for its answer.
    """

    def __init__(self, target: Target, attempt_seconds: float) -> None:
        self._target = target
        self._attempt_seconds = attempt_seconds
        self._idle: dict[Address, deque[Wire]] = {}
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)
        self.routes = Routes(target)

    async def run(self, calls: Sequence[Call[Any]], timeout: float) -> None:
        """Carries calls to their end: each has a result or an error within about `timeout` seconds.

        A cancelled run leaves its calls without a fate: what was sent may have been executed.
        """
        effort = Effort(calls, time.monotonic(), timeout)
        while True:
            known, unknown = effort.groups(self.routes)
            if unknown:
                try:
                    await self.discover(effort.deadline)
                except LINK_ERRORS as error:
                    refuse(unknown, error)
                else:
                    known, unknown = effort.groups(self.routes)
                    refuse(unknown, ConnectionError("no known server is in charge of this channel"))
            if len(known) == 1:
                for address, group in known.items():
                    await self._attempt(address, group, effort.deadline)
            else:
                await asyncio.gather(*[self._attempt(*item, effort.deadline) for item in known.items()])
            delay = effort.pause(time.monotonic())
            if delay is None:
                return
            if delay:
                await asyncio.sleep(delay)

    async def _attempt(self, address: Address, calls: Sequence[Call[Any]], deadline: float) -> None:
        async with self._turns:
            try:
                wire = await self._take(address, deadline)
            except LINK_ERRORS as error:
                refuse(calls, error)
                self.routes.forget()
                return
            now = time.monotonic()
            exchange = Exchange(calls, address, now)
            try:
                await wire.exchange(exchange, max(0.05, min(self._attempt_seconds, deadline - now)))
            except LINK_ERRORS as error:
                wire.abort()
                exchange.broke(error)
                self.routes.forget()
                return
            except BaseException:
                # cancelled in between: the answers on this connection belong to nobody now
                wire.abort()
                raise
        if exchange.wrong_routes:
            self.routes.forget()
        self._idle.setdefault(address, deque()).append(wire)

    async def _take(self, address: Address, deadline: float) -> Wire:
        idle = self._idle.get(address)
        while idle:
            wire = idle.pop()
            if wire.alive:
                return wire
            wire.abort()
        return await self.connect(address, max(0.05, deadline - time.monotonic()))

    async def connect(self, address: Address, timeout: float) -> Wire:
        """A new connection that this object does not keep."""
        timeout = min(timeout, self._attempt_seconds)
        wire = await Wire.open(self._target, address, timeout)
        if self._target.kind == "sentinel":
            # the Sentinels may still name a primary that has been demoted
            try:
                role = await wire.ask(("ROLE",), timeout)
            except BaseException:
                wire.abort()
                raise
            if not isinstance(role, ReplyError) and role[0] != b"master":
                await wire.close()
                raise ConnectionError(f"{address[0]}:{address[1]} is no primary any more, its role is {role[0]!r}")
        return wire

    async def connect_primary(self) -> Wire:
        """A new connection to the one primary, for the live link; where there are Sentinels they are asked each time."""
        self.routes.forget()
        if not self.routes.primaries():
            await self.discover(time.monotonic() + CONNECT_SECONDS)
        return await self.connect(self.routes.primaries().pop(), CONNECT_SECONDS)

    async def discover(self, deadline: float) -> None:
        """Asks Sentinels or cluster nodes until one answers; raises the last error."""
        trouble: BaseException = ConnectionError("no server to ask")
        for address in self.routes.candidates():
            timeout = min(1.0, deadline - time.monotonic())
            if timeout <= 0:
                break
            try:
                wire = await Wire.open(self._target, address, timeout, sentinel=self._target.kind == "sentinel")
                try:
                    reply = await wire.ask(self.routes.question, timeout)
                finally:
                    await wire.close()
            except LINK_ERRORS as error:
                trouble = error
                continue
            if self.routes.learned(reply, address):
                return
            trouble = ConnectionError(
                f"{address[0]}:{address[1]} answered {self.routes.question!r} with {reply!r:.200}"
            )
        raise trouble

    async def close(self) -> None:
        """Closes the idle connections and waits until they are."""
        wires = [wire for idle in self._idle.values() for wire in idle]
        self._idle.clear()
        for wire in wires:  # all of them before the first wait: nobody has them any more if this is cancelled
            wire.writer.close()
        await asyncio.gather(*[wire.close() for wire in wires])

    def abandon(self) -> None:
        """The loop is closed already: ends the connections for Redis; their memory goes with the loop."""
        for idle in self._idle.values():
            for wire in idle:
                sock = wire.writer.get_extra_info("socket")
                with contextlib.suppress(OSError, AttributeError):
                    sock.shutdown(2)
        self._idle.clear()
