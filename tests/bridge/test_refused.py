"""A bridge that cannot work says so to whoever waits, and does not let them wait for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.errors import BackendError, ConfigurationError, SSEBridgeError
from sse_bridge.streams import StreamRequest, stream_channels
from sse_bridge_asgi import EventStreamApp
from tests.asgi.strict_server import WebSocket
from tests.support.process import free_port
from tests.support.redis_server import RedisServer

PATIENCE_SECONDS = 60  # a machine may be slow; without the errors all of these would wait for ever

RULES = ["user default off", "user app on >secret ~* &* +@all", "user deaf on >secret ~* resetchannels +@all"]


@pytest.fixture
def port(private_redis: Callable[..., RedisServer]) -> int:
    return private_redis(config=RULES).port


CASES = {
    "no password": ("redis://127.0.0.1:{port}/0", "NOAUTH|uthentication"),
    "a wrong password": ("redis://app:wrong@127.0.0.1:{port}/0", "password"),
    "no such database": ("redis://app:secret@127.0.0.1:{port}/99", "database"),
    "an ACL without pub/sub": ("redis://deaf:secret@127.0.0.1:{port}/0", "NOPERM|&sse_bridge"),
}


async def told(call: Any) -> SSEBridgeError:
    """What an awaitable, or a blocking call on a thread, raises in time."""
    waiting = call if asyncio.iscoroutine(call) else asyncio.to_thread(call)
    with pytest.raises((BackendError, ConfigurationError)) as raised:
        await asyncio.wait_for(waiting, PATIENCE_SECONDS)
    return raised.value


@pytest.mark.parametrize(("url", "words"), CASES.values(), ids=CASES.keys())
async def test_it_reaches_everybody_who_waits(port: int, url: str, words: str) -> None:
    async with Bridge(url.format(port=port), check_seconds=1) as bridge:
        sync = await asyncio.to_thread(bridge.subscribe, "orders:42")
        errors = [await told(sync.wait_ready), await told(sync.next)]
        stream = bridge.asubscribe("orders:42")
        errors += [await told(stream.wait_ready()), await told(stream.next()), await told(stream.__anext__())]
        errors.append(await told(lambda: bridge.publish("orders:42", 1)))
        assert isinstance(errors[-1], ConfigurationError) or str(errors[-1]).startswith("publishing to 'orders:42': ")
        for error in errors:
            assert any(word in str(error) for word in words.split("|")), error
            assert isinstance(error, ConfigurationError) or (isinstance(error, BackendError) and error.permanent)


@pytest.mark.parametrize("sync", [True, False], ids=["threads", "asyncio"])
async def test_a_stream_sends_its_client_away_at_once(port: int, sync: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sse_bridge.streams.lifecycle.opening.OPENING_SECONDS", 120.0)
    async with Bridge(f"redis://app:wrong@127.0.0.1:{port}/0") as bridge:
        bodies = stream_channels(bridge, "orders:42", StreamRequest()).bodies
        assert bodies is not None
        began = time.monotonic()
        if sync:
            frames = await asyncio.to_thread(lambda: b"".join(bodies.sync_body()))
        else:
            frames = b"".join([frame async for frame in bodies.async_body()])
        assert b"retry:" in frames
        assert b"unavailable" in frames
        assert time.monotonic() - began < 60, "it waits for `OPENING_SECONDS` where the broker is only away"


async def test_a_websocket_is_told_and_closed(port: int, caplog: pytest.LogCaptureFixture) -> None:
    async with Bridge(f"redis://app:wrong@127.0.0.1:{port}/0") as bridge:
        app = EventStreamApp(bridge, authorize=lambda scope, channels: True)
        async with WebSocket(app, "/?channel=orders:42") as client:
            assert "unavailable" in await client.take()
            await client.ended()
            assert client.closed == 4503
    assert "a WebSocket's channels cannot be followed: BackendError" in caplog.text


async def test_who_was_ready_once_stays(private_redis: Callable[..., RedisServer]) -> None:
    """A password that changes while readers are there is an operator's error, who will see it in the log and undo it."""
    server = private_redis()
    async with Bridge(server.url, check_seconds=1) as bridge, bridge.asubscribe("a") as stream:
        with await asyncio.to_thread(bridge.subscribe, "a") as other:
            assert await stream.wait_ready(60)
            assert await asyncio.to_thread(other.wait_ready, 10)
            server.command("ACL", "SETUSER", "default", "resetpass", ">secret")
            server.command("CLIENT", "KILL", "TYPE", "pubsub", password="secret")
            server.command("CLIENT", "KILL", "TYPE", "normal", password="secret")
            assert await stream.next(timeout=1) is None
            assert await asyncio.to_thread(other.next, 0.5) is None
            server.command("ACL", "SETUSER", "default", "nopass", password="secret")
            async with Bridge(server.url) as publisher:
                await publisher.apublish("a", "back")
            for event in (await stream.next(timeout=60), await asyncio.to_thread(other.next, 60)):
                assert event is not None
                assert event.data == "back"


async def test_a_server_that_is_only_away_is_waited_for() -> None:
    async with Bridge(f"redis://127.0.0.1:{free_port()}/0", publish_timeout_seconds=0.5) as bridge:
        stream = bridge.asubscribe("a")
        assert not await stream.wait_ready(1)
        assert await stream.next(timeout=0.5) is None
        other = await asyncio.to_thread(bridge.subscribe, "a")
        assert not await asyncio.to_thread(other.wait_ready, 1)
