"""A TCP proxy that behaves like a bad network: it cuts, delays, holds back, loses a reply, refuses.

It runs an event loop in a thread of its own, so it serves blocking, asyncio and gevent tests alike, and its methods may be
called from any thread; each returns when it has taken effect.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from tests.support.process import free_port

T = TypeVar("T")


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, budget: int | None) -> None:
        self.writers = (client, server)
        self.budget = budget  # bytes to the client until the cut; None for no cut
        self.drop_reply = False
        self.tail = b""  # of what went to the client, while `cut_behind` looks for its pattern
        self.pumps: list[asyncio.Task[None]] = []

    def abort(self) -> None:
        for pump in self.pumps:
            pump.cancel()  # a pump that holds data back would not notice a closed socket
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """A proxy in front of 127.0.0.1:`target`, listening on `port`.

    Args:
        receive_bytes: the receive buffer of its connections to the target, which the system does not enlarge then; so a server
            whose replies are held back soon has nowhere to write to. None: the system's choice.

    Attributes:
        accepted: Connections accepted so far.
        delay_seconds: Held back before every chunk, in both directions.
        cuts: How often the budget of `cut_randomly` or `cut_after` ended a connection.
    """

    def __init__(self, target: int, *, receive_bytes: int | None = None) -> None:
        self.target = target
        self._receive_bytes = receive_bytes
        self.port = free_port()
        self.accepted = 0
        self.cuts = 0
        self.delay_seconds = 0.0
        self._links: set[_Link] = set()
        self._random = random.Random(0)
        self._range: tuple[int, int] | None = None
        self._drop_after: bytes | None = None
        self._behind = b""
        self._behind_times = 0
        self._refuse_then = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._listener: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._call(self._open())

    @property
    def url(self) -> str:
        """The address for HTTP, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def active(self) -> int:
        """Connections open now."""
        return len(self._links)

    def cut_randomly(self, seed: int, low: int = 1, high: int = 4096) -> None:
        """End each new connection after a random number of bytes to the client, between `low` and `high`."""
        self._random.seed(seed)
        self._range = (low, high)

    def cut_after(self, count: int) -> None:
        """End each new connection after exactly that many bytes to the client."""
        self._range = (count, count)

    def cut_behind(self, pattern: bytes, times: int = 1) -> None:
        """End the next `times` connections, running ones too, right behind the first frame that contains `pattern`.

        A frame ends with a blank line. Other cuts go on meanwhile.
        """
        self._behind = pattern
        self._behind_times = times

    @property
    def behind_left(self) -> int:
        """How many of the cuts of `cut_behind` are still to come."""
        return self._behind_times

    def stop_cutting(self) -> None:
        """Let new and running connections live."""
        self._range = None
        self._behind_times = 0
        for link in list(self._links):
            link.budget = None

    def cut(self) -> None:
        """Abort all connections now."""
        self._call(self._cut())

    def refuse(self) -> None:
        """Abort all connections and refuse new ones, as a server that is gone."""
        self._call(self._close())

    def accept(self) -> None:
        """End `refuse()`: the same port listens again."""
        self._call(self._open())

    def hold(self) -> None:
        """Keep everything back in both directions, as a black hole; connections stay open."""
        self._call(self._set_flowing(False))

    def flow(self) -> None:
        """End `hold()`: what was kept back is delivered."""
        self._call(self._set_flowing(True))

    def drop_reply(self, after: bytes = b"", *, refuse: bool = False) -> None:
        """Lose one reply: the server gets the next request that contains `after`, the client is cut instead of answered.

        Args:
            refuse: refuse new connections from that moment on, until `accept()`, so that a retry has to wait.
        """
        self._refuse_then = refuse
        self._drop_after = after

    @property
    def reply_dropped(self) -> bool:
        """Whether the reply of the last `drop_reply()` is lost by now."""
        return self._drop_after is None

    def stop(self) -> None:
        """Close everything; the with statement does it at its end."""
        if self._loop.is_closed():
            return
        self._call(self._close())
        self._call(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    # Everything below runs in the proxy's own loop.

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _open(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _finish(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self) -> None:
        for link in list(self._links):
            link.abort()
        await asyncio.sleep(0)

    async def _set_flowing(self, flowing: bool) -> None:
        (self._flowing.set if flowing else self._flowing.clear)()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        upstream = socket.socket()
        upstream.setblocking(False)
        if self._receive_bytes is not None:
            upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
        try:
            await self._loop.sock_connect(upstream, ("127.0.0.1", self.target))
            upstream_reader, upstream_writer = await asyncio.open_connection(sock=upstream)
        except OSError:
            upstream.close()
            writer.transport.abort()
            return
        link = _Link(writer, upstream_writer, self._random.randint(*self._range) if self._range else None)
        self._links.add(link)
        link.pumps = [
            asyncio.ensure_future(self._pump_requests(link, reader, upstream_writer)),
            asyncio.ensure_future(self._pump_replies(link, upstream_reader, writer)),
        ]
        try:
            # One end is enough: HTTP and Redis clients that close one direction are done with the other.
            await asyncio.wait(link.pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            for pump in link.pumps:
                pump.cancel()
            await asyncio.gather(*link.pumps, return_exceptions=True)
            for end in link.writers:
                end.close()

    async def _chunk(self, reader: asyncio.StreamReader) -> bytes:
        data = await reader.read(65536)
        await self._flowing.wait()
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        return data

    async def _pump_requests(self, link: _Link, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while data := await self._chunk(reader):
            if self._drop_after is not None and self._drop_after in data:
                link.drop_reply = True
            server.write(data)
            await server.drain()

    async def _pump_replies(self, link: _Link, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await self._chunk(reader):
            if link.drop_reply:
                if self._refuse_then and self._listener is not None:
                    self._listener.close()
                    self._listener = None
                self._drop_after = None
                return  # _accept closes both ends
            if self._behind_times:
                data = self._cut_behind(link, data)
            if link.budget is not None:
                data = data[: link.budget]
                link.budget -= len(data)
            client.write(data)
            await client.drain()
            if link.budget == 0:
                self.cuts += 1
                return

    def _cut_behind(self, link: _Link, data: bytes) -> bytes:
        """What may still go to the client, up to the end of the frame that is looked for."""
        before = len(link.tail)
        link.tail += data
        start = link.tail.find(self._behind)
        end = link.tail.find(b"\n\n", start) if start >= 0 else -1
        if end < 0 or end + 2 <= before:  # a frame of before the order is past
            link.tail = link.tail[-65536:]
            return data
        self._behind_times -= 1
        data = data[: end + 2 - before]
        link.budget = len(data)
        return data
