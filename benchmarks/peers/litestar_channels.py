"""Litestar's channels plugin with its Redis pub/sub backend and its own ServerSentEvent response."""

from __future__ import annotations

import os

import redis.asyncio as redis
from litestar import Litestar, get
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.redis import RedisChannelsPubSubBackend
from litestar.response import ServerSentEvent

backend = RedisChannelsPubSubBackend(redis=redis.Redis.from_url(os.environ["BENCH_REDIS"]))
plugin = ChannelsPlugin(backend=backend, arbitrary_channels_allowed=True)


@get("/events/{channel:str}", sync_to_thread=False)
def events(channel: str, channels: ChannelsPlugin) -> ServerSentEvent:
    async def stream():
        async with channels.start_subscription([channel]) as subscriber:
            async for message in subscriber.iter_events():
                yield message

    return ServerSentEvent(stream())


app = Litestar([events], plugins=[plugin])
