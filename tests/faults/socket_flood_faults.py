"""WebSocket clients that send as fast as they can, and read nothing or keep a hook busy: they are ended, others wait for none."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.serving import add_figures, percentile, serving
from tests.support.crowd import Crowd
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

OTHERS: Final = 10
# A second for the write and one for the close; the rest is for a loaded machine.
END_SECONDS: Final = 45.0
SETTINGS: Final = {"replay_size": 3000, "heartbeat_seconds": 5, "linger_seconds": 0.2}


SERVERS: Final = ("uvicorn", "hypercorn", "granian")


def message(text: str) -> bytes:
    """A client's text message (RFC 6455, 5.2), masked with zeros."""
    data = text.encode()
    assert len(data) < 126
    return bytes((0x81, 0x80 | len(data))) + bytes(4) + data


class Flooder:
    """One client.

    Attributes:
        ended: seconds from the flood's begin until the server ended it; None: it did not.
        code: the close code, where it came.
    """

    def __init__(self, url: str, *, first: str, reads: bool) -> None:
        self.ended: float | None = None
        self.code = 0
        self._parts = urlsplit(url)
        self._first = first
        self._reads = reads

    async def run(self, stop: threading.Event) -> None:
        reader, writer = await asyncio.open_connection(self._parts.hostname, self._parts.port, limit=2**26)
        try:
            key = base64.b64encode(os.urandom(16)).decode()
            target = f"{self._parts.path}?{self._parts.query}"
            head = (
                f"GET {target} HTTP/1.1\r\nHost: {self._parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            )
            head += f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
            writer.write(head.encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(message(self._first))
            began = time.monotonic()
            reading = asyncio.ensure_future(self._read(reader)) if self._reads else None
            ping = message('{"type":"ping"}') * 100
            while not stop.is_set() and not (reading and reading.done()):
                try:
                    writer.write(ping)
                    await asyncio.wait_for(writer.drain(), 0.2)
                except TimeoutError:
                    pass  # the server takes no more; it is for the server to end this
                except OSError:
                    break
                await asyncio.sleep(0.01)
            try:  # what it never read, and then the end
                await asyncio.wait_for(self._read(reader) if reading is None else reading, END_SECONDS)
            except TimeoutError:
                return
            self.ended = time.monotonic() - began
        finally:
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                first, second = await reader.readexactly(2)
                size = second & 0x7F
                if size > 125:
                    size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
                data = await reader.readexactly(size)
                if first & 0x0F == 8:
                    self.code = int.from_bytes(data[:2], "big")
                    return
        except (OSError, asyncio.IncompleteReadError):
            return


async def flood(flooders: Sequence[Flooder], stop: threading.Event) -> None:
    await asyncio.gather(*(flooder.run(stop) for flooder in flooders))


def flooded(kind: str, scale: Scale) -> Tally:
    count, least_seconds = scale.pick(3, 8), scale.pick(1, 10)
    tally = Tally(faults=2 * count)
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        site = stack.enter_context(serving(kind, redis.url, **SETTINGS))
        crowd = stack.enter_context(Crowd(site.stream("a"), OTHERS))
        crowd.wait(lambda member: member.open, 60)
        for number in range(20):
            site.bridge.publish(
                "big", [number, "x" * 50_000]
            )  # more than any buffer: who reads nothing blocks its sends
        subscribe = json.dumps({"type": "subscribe", "channels": ["big"], "after": "earliest"})
        slow = json.dumps({"type": "slow", "seconds": 60})
        flooders = [
            Flooder(site.stream("b"), first=first, reads=reads)
            for first, reads in ((subscribe, False), (slow, True))
            for _ in range(count)
        ]
        published, stop = 0, threading.Event()
        flooding = asyncio.new_event_loop()
        with ThreadPoolExecutor(1) as pool:
            outcome = pool.submit(flooding.run_until_complete, flood(flooders, stop))
            crowd.latencies()
            began, over = time.monotonic(), 0.0
            while not outcome.done():
                site.bridge.publish("a", {"n": published, "at": time.monotonic()})
                published += 1
                due = time.monotonic() + 0.02
                wait_for(lambda due=due: time.monotonic() >= due)
                # not at once: they have to begin first
                if not over and time.monotonic() > began + 1 and site.get("/counts")["streams"] == OTHERS:
                    over = time.monotonic() - began
                if time.monotonic() > began + (least_seconds if over else END_SECONDS):
                    stop.set()
            outcome.result()
        flooding.close()
        crowd.wait(lambda member: member.next == published, 60)
        add_figures(tally, crowd, published)
        latencies = crowd.latencies()
        middle, late = percentile(latencies, 0.5), percentile(latencies, 0.99)
    readers = flooders[count:]
    ended = [flooder.ended for flooder in flooders if flooder.ended is not None]
    tally.notes.append(
        f"{len(ended)} of {2 * count} ended, their sessions were over after {over:.1f} s of a flood that went on; "
        f"others' median delay meanwhile {middle * 1000:.0f} ms, p99 {late * 1000:.0f} ms"
    )
    if len(ended) != 2 * count:
        tally.wrong.append(f"{2 * count - len(ended)} flooders were not ended")
    if any(flooder.code != 4429 for flooder in readers):
        tally.wrong.append(f"close codes {[flooder.code for flooder in readers]}, expected 4429")
    if not over:
        tally.wrong.append(f"the flooders' sessions were not over after {END_SECONDS} s")
    # The delay is the server's: it takes apart what a read of the socket holds, up to 256 KiB, before it asks anybody, and
    # uvicorn goes on doing so behind the close, until the client answers that or ten seconds are over.
    return tally


for each in SERVERS:
    guarantee(
        f"WebSocket clients that send without a pause and read nothing, or keep a hook busy, {each}",
        part="Readers",
        promise="each session ends by its limit while its client floods on, and no more is received of it; others lose nothing",
        soak=each != "uvicorn",
        id=f"flooding_sockets_{each}",
    )(partial(flooded, each))
