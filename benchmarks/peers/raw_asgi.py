"""The floor: what an ASGI app costs without any library. One Redis connection, a queue and a task per reader, one send
per event; no replay, no ids, no heartbeat, no bound on anything."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from typing import Any

import redis.asyncio as redis

queues: defaultdict[bytes, set[asyncio.Queue[bytes]]] = defaultdict(set)
listeners: list[asyncio.Task[None]] = []


async def listen() -> None:
    pubsub = redis.Redis.from_url(os.environ["BENCH_REDIS"]).pubsub(ignore_subscribe_messages=True)
    await pubsub.psubscribe("*")
    async for message in pubsub.listen():
        frame = b"data: " + message["data"] + b"\n\n"
        for queue in queues[message["channel"]]:
            queue.put_nowait(frame)


async def write(queue: asyncio.Queue[bytes], send: Any) -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
    while True:
        await send({"type": "http.response.body", "body": await queue.get(), "more_body": True})


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        listeners.append(asyncio.create_task(listen()))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        listeners.pop().cancel()
        await send({"type": "lifespan.shutdown.complete"})
        return
    channel = scope["path"].rpartition("/")[2].encode()
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    queues[channel].add(queue)
    writer = asyncio.create_task(write(queue, send))
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    finally:
        queues[channel].discard(queue)
        writer.cancel()
