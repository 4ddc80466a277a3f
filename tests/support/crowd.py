"""Hundreds of readers of an event stream on one event loop, in a thread of its own.

Each behaves as a browser does: it parses strictly, and when a connection ends it comes back after the `retry:` it was
told, with its Last-Event-ID. What is published must be numbered 0, 1, 2 …, as `{"n": 0, "at": time.monotonic()}` or as
the bare number; each reader then says by itself what it lost and saw twice, without keeping all of it.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

import h11

from tests.support.sse_parser import Frame, SSEParser
from tests.support.wait import wait_for

REFUSED_SECONDS = 0.1  # a refused connection is tried again, where a browser would give up


class Visit:
    """One connection.

    Attributes:
        opened_at: when its first frame came (`time.monotonic`); 0 before.
        ended_at: when it ended; 0 while it runs.
        open: whether the first frame has come.
        ended: `complete` with the body's proper end, `cut` without; empty while it runs.
        inside_frame: it ended inside a frame.
        last: its last frame.
    """

    def __init__(self) -> None:
        self.opened_at = 0.0
        self.ended_at = 0.0
        self.open = False
        self.ended = ""
        self.inside_frame = False
        self.last: Frame | None = None


class Member:
    """One reader.

    Attributes:
        visits: its connections, the refused ones not counted.
        tried_at: when it tried to connect, every time.
        refused: how often a connection was refused or ended before its first frame.
        count: the numbers that came,
        missing: those that were passed over and have not come since,
        doubled, reordered: how many came again, or late.
        gaps: the gap frames.
        latencies: seconds from publishing to reading, where the data says when it was published.
        trouble: why it gave up.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.visits: list[Visit] = []
        self.tried_at: list[float] = []
        self.refused = 0
        self.count = 0
        self.next = 0
        self.missing: set[int] = set()
        self.doubled = 0
        self.reordered = 0
        self.gaps: list[Frame] = []
        self.latencies: list[float] = []
        self.trouble = ""
        self.finished = False  # a 204: there is nothing more to come
        self.last_event_id = ""
        self.retry = 0

    @property
    def open(self) -> bool:
        return bool(self.visits) and self.visits[-1].open and not self.visits[-1].ended

    def take(self, frame: Frame) -> None:
        """Counts one frame."""
        if frame.event == "stream.gap":
            self.gaps.append(frame)
        if frame.event.startswith("stream."):
            return
        value = json.loads(frame.data)
        if isinstance(value, dict):
            self.latencies.append(time.monotonic() - value["at"])
            value = value["n"]
        self.count += 1
        if value >= self.next:
            self.missing.update(range(self.next, value))
            self.next = value + 1
        elif value in self.missing:
            self.missing.discard(value)
            self.reordered += 1
        else:
            self.doubled += 1

    async def live(self, *, resume: bool) -> None:
        """Reads until a 204, or once only."""
        while not self.finished:
            visit = Visit()
            self.tried_at.append(time.monotonic())
            try:
                await self._visit(visit)
            except (OSError, asyncio.IncompleteReadError):
                pass
            if not visit.open and not self.finished:
                self.refused += 1
                await asyncio.sleep(REFUSED_SECONDS)
                continue
            visit.ended_at = time.monotonic()
            visit.ended = visit.ended or "cut"
            if not resume:
                return
            await asyncio.sleep(self.retry / 1000)

    async def _visit(self, visit: Visit) -> None:
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            http = h11.Connection(h11.CLIENT)
            headers = [("Host", parts.netloc), ("Accept", "text/event-stream")]
            if self.last_event_id:
                headers.append(("Last-Event-ID", self.last_event_id))
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            writer.write(http.send(h11.Request(method="GET", target=target, headers=headers)) or b"")
            writer.write(http.send(h11.EndOfMessage()) or b"")
            await self._read(visit, http, reader)
        finally:
            writer.transport.abort()

    async def _read(self, visit: Visit, http: h11.Connection, reader: asyncio.StreamReader) -> None:
        parser = SSEParser(self.last_event_id)
        while True:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError:
                return  # the body has no proper end
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                if event.status_code == 204:
                    self.finished = True
                    return
                if event.status_code != 200:
                    self.trouble = f"status {event.status_code} of {self.url}"
                    raise AssertionError(self.trouble)
            elif isinstance(event, h11.Data):
                for frame in parser.feed(bytes(event.data)):
                    visit.last = frame
                    if not visit.open:
                        visit.open = True
                        visit.opened_at = time.monotonic()
                        self.visits.append(visit)
                    self.take(frame)
                self.last_event_id, self.retry = parser.last_event_id, parser.retry or self.retry
                visit.inside_frame = parser.inside_frame
            else:
                visit.ended = "complete" if isinstance(event, h11.EndOfMessage) else "cut"
                return


class Crowd:
    """Readers of one address; a context manager, at whose end they leave.

    Args:
        url: what they read.
        count: how many.
        resume: False: nobody comes back.
    """

    def __init__(self, url: str, count: int, *, resume: bool = True) -> None:
        self.members = [Member(url) for _ in range(count)]
        self._resume = resume
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)
        self._stopping = asyncio.Event()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._live())
        self._loop.close()

    async def _live(self) -> None:
        tasks = [asyncio.ensure_future(self._one(member)) for member in self.members]
        await self._stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, member: Member) -> None:
        try:
            await member.live(resume=self._resume)
        except Exception as error:
            member.trouble = member.trouble or repr(error)

    def latencies(self) -> list[float]:
        """All of them since the last time."""
        taken = []
        for member in self.members:
            latencies, member.latencies = member.latencies, []
            taken += latencies
        return taken

    def look(self) -> None:
        """Raises what any of them gave up for."""
        troubles = [member.trouble for member in self.members if member.trouble]
        assert not troubles, f"{len(troubles)} of {len(self.members)} readers gave up: {troubles[:3]}"

    def wait(self, condition: Callable[[Member], object], seconds: float = 60, *, what: str = "") -> None:
        """Waits until it holds for every reader."""

        def holds() -> bool:
            self.look()
            return all(condition(member) for member in self.members)

        try:
            wait_for(holds, seconds, what=what or "all readers")
        except AssertionError as error:
            late = [member for member in self.members if not condition(member)]
            shown = [
                {**vars(member), "latencies": len(member.latencies), "visits": [vars(visit) for visit in member.visits]}
                for member in late
            ]
            raise AssertionError(
                f"{error}\n{len(late)} of {len(self.members)} readers, for instance {shown[:2]}"
            ) from None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
