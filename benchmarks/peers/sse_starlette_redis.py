"""sse-starlette with redis.asyncio: one pub/sub connection per reader, as its examples show."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import redis.asyncio as redis
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

client = redis.Redis.from_url(os.environ["BENCH_REDIS"], max_connections=20_000)


async def events(channel: str) -> AsyncIterator[dict[str, str]]:
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(channel)
        async for message in pubsub.listen():
            if message["type"] == "message":
                yield {"data": message["data"].decode()}


async def endpoint(request: Request) -> EventSourceResponse:
    return EventSourceResponse(events(request.path_params["channel"]))


app = Starlette(routes=[Route("/events/{channel}", endpoint)])
