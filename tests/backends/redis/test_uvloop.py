"""The asyncio side on uvloop, which uvicorn takes wherever it is installed: its sockets and transports are not asyncio's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from sse_bridge import Bridge
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.wait import await_for

uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")


def run(main: Callable[[], Any]) -> None:
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 60))
    finally:
        loop.close()


def test_a_link_that_is_lost_comes_back(private_redis: Callable[..., RedisServer]) -> None:
    server = private_redis()

    async def main() -> None:
        async with Bridge(server.url) as bridge, bridge.asubscribe("a") as stream:
            await stream.wait_ready()
            for number in range(3):
                assert server.command("CLIENT", "KILL", "TYPE", "pubsub") == b":1\r\n"
                await bridge.apublish("a", number)
                event = await stream.next(60)
                assert event is not None
                assert event.data == number
                await await_for(lambda: b"sub=1" in server.command("CLIENT", "LIST", "TYPE", "pubsub"))

    run(main)


def test_a_link_that_is_silent_is_given_up_and_made_anew(private_redis: Callable[..., RedisServer]) -> None:
    server = private_redis()

    async def main(proxy: Proxy) -> None:
        async with Bridge(proxy.redis_url, link_timeout_seconds=1) as bridge, bridge.asubscribe("a") as stream:
            await stream.wait_ready()
            for number in range(2):
                links = proxy.accepted
                proxy.hold()
                await await_for(lambda links=links: proxy.accepted > links, what="another link")  # type: ignore[misc]
                proxy.flow()
                await bridge.apublish("a", number)
                event = await stream.next(60)
                assert event is not None
                assert event.data == number

    with Proxy(server.port) as proxy:
        run(lambda: main(proxy))


async def test_what_a_closed_loop_left_open_is_abandoned(redis_url: str, prefix: str) -> None:
    """uvloop's sockets have no shutdown, and its loop has closed them by then."""
    connection: Any = Mock()
    connection.writer.get_extra_info.return_value.shutdown.side_effect = TypeError(
        "transport sockets do not support shutdown()"
    )
    async with Bridge(redis_url, prefix=prefix) as bridge:
        backend: Any = bridge.backend
        client = backend._side().client
        client._idle = {("127.0.0.1", 1): deque([connection])}
        client.abandon()
        assert not client._idle
