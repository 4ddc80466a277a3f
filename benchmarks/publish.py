"""The publisher: one synchronous process. `python -m benchmarks.publish '{"to": "bridge", "url": …}'`.

It says READY when its connection is warm, begins at a line on stdin, and reports {"published", "seconds"} at the end.

Without a rate it publishes one event per call, as fast as it can. With a rate it publishes what is due: one event per
call while it keeps up, several at once (a pipeline) where it does not.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Protocol
from urllib.parse import urlsplit

MOST_AT_ONCE = 32
HIDDEN_EVERY = 5  # with `hidden`: after so many visible events one that no reader may see


@dataclass
class Plan:
    """What to publish.

    Attributes:
        to: a key of `TARGETS`.
        url: of Redis, or of the server itself.
        events: how many, over all channels.
        rate: per second over all channels; 0: no pauses.
        channels: they take turns: c0, c1, …
        size: bytes of data per event.
        hidden: every few events one that the readers' filter hides.
    """

    to: str
    url: str
    events: int
    rate: float = 0
    channels: int = 1
    size: int = 200
    hidden: bool = False


class Target(Protocol):
    def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """Publishes (channel, JSON) in order and returns when the broker has answered."""


class BridgeTarget:
    """Ours."""

    def __init__(self, url: str) -> None:
        from sse_bridge import Bridge, Json

        self._bridge = Bridge(url)
        self._json = Json

    def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        if len(batch) == 1:
            channel, data = batch[0]
            self._bridge.publish(channel, self._json(data))
            return
        for result in self._bridge.publish_many([(channel, self._json(data)) for channel, data in batch]):
            if isinstance(result, Exception):
                raise result

    def hide(self, channel: str, data: bytes) -> None:
        self._bridge.publish(channel, self._json(data), visibility="internal_only")


class RedisTarget:
    """PUBLISH through redis-py, which is what all peers with Redis do."""

    def __init__(self, url: str) -> None:
        import redis

        self._redis = redis.Redis.from_url(url)

    def message(self, channel: str, data: bytes) -> tuple[str, bytes]:
        return channel, data

    def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        if len(batch) == 1:
            self._redis.publish(*self.message(*batch[0]))
            return
        pipeline = self._redis.pipeline(transaction=False)
        for channel, data in batch:
            pipeline.publish(*self.message(channel, data))
        pipeline.execute()


class DjangoEventstreamTarget(RedisTarget):
    """What its `send_event` sends to Redis, without the rest of it, which costs 156 µs."""

    def message(self, channel: str, data: bytes) -> tuple[str, bytes]:
        event = {"channel": channel, "event_type": "message", "data": data.decode(), "pub_id": None}
        return "events_channel", json.dumps(event).encode()


class FlaskSSETarget(RedisTarget):
    """What its `publish` sends to Redis; it opens a new connection for every event, which costs 1.3 ms."""

    def message(self, channel: str, data: bytes) -> tuple[str, bytes]:
        return channel, json.dumps({"data": data.decode()}).encode()


class HttpTarget:
    """POST to nchan over one connection, several at once pipelined."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        self._socket.sendall(
            b"".join(
                b"POST /publish/%s HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s"
                % (channel.encode(), len(data), data)
                for channel, data in batch
            )
        )
        for _ in batch:
            status = self._answers.readline()
            if status.split()[1] not in (b"201", b"202"):
                raise RuntimeError(f"expected 201 or 202 from nchan, got {status!r}")
            size = 0
            while (line := self._answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            self._answers.read(size)


TARGETS = {
    "bridge": BridgeTarget,
    "redis": RedisTarget,
    "django-eventstream": DjangoEventstreamTarget,
    "flask-sse": FlaskSSETarget,
    "http": HttpTarget,
}


def _rows(size: int, seed: int) -> bytes:
    """JSON objects like those of an application, so that they compress like them: to 0.74 at 200 bytes, 0.26 at 2 kB."""
    random = Random(seed)
    text = b""
    while len(text) < size:
        row = {
            "id": random.randrange(10**6),
            "status": random.choice(["paid", "sent", "open", "returned"]),
            "amount": round(random.uniform(1, 999), 2),
            "customer": random.choice(["Ann Miller", "Jo Smith", "Lee Wong", "Maria Rossi", "Ali Khan", "Eva Novak"]),
        }
        text += json.dumps(row, separators=(",", ":")).replace('"', "'").encode() + b","
    return text


@cache
def _fillers(size: int) -> list[bytes]:
    return [_rows(size, seed) for seed in range(64)]


def event(number: int, channel: int, size: int) -> bytes:
    """JSON of exactly `size` bytes, made now; see transcript.py for the marks."""
    start = b'{"t":%d,"n":%d,"c":%d,"rows":"' % (time.monotonic_ns(), number, channel)
    fillers = _fillers(size)
    return start + fillers[number % len(fillers)][: size - len(start) - 2] + b'"}'


def run(plan: Plan, target: Target) -> float:
    """Publishes everything; returns the seconds it took."""
    began = time.monotonic()
    sent = 0
    while sent < plan.events:
        due = 1
        if plan.rate:
            due = min(plan.events, int((time.monotonic() - began) * plan.rate) + 1) - sent
            if due <= 0:
                time.sleep(max(0.0, began + sent / plan.rate - time.monotonic()))
                continue
        numbers = range(sent, sent + min(due, MOST_AT_ONCE))
        channels = plan.channels
        target.send([(f"c{i % channels}", event(i // channels, i % channels, plan.size)) for i in numbers])
        if plan.hidden and sent // HIDDEN_EVERY != (sent + len(numbers)) // HIDDEN_EVERY:
            assert isinstance(target, BridgeTarget)
            target.hide(f"c{sent % channels}", b'{"secret":true}')
        sent += len(numbers)
    return time.monotonic() - began


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    _fillers(plan.size)
    target: Target = TARGETS[plan.to](plan.url)
    target.send([("warm", b'{"warm":1}')])
    target.send([("warm", b'{"warm":2}'), ("warm", b'{"warm":3}')])
    print("READY", flush=True)
    sys.stdin.readline()
    seconds = run(plan, target)
    print(json.dumps({"published": plan.events, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
