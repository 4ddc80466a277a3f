"""A primary, a replica and a Sentinel on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from sse_bridge.errors import BackendUnavailable
from tests.backends.sides import Recorder, Side, append_each, batch, datas
from tests.support.redis_group import RedisSentinel
from tests.support.redis_server import RedisServer
from tests.support.requires import require
from tests.support.wait import await_for


@pytest.fixture
def group() -> Iterator[RedisSentinel]:
    require("redis7")
    with RedisSentinel() as group:
        yield group


@pytest.mark.slow
async def test_a_failover_is_followed(group: RedisSentinel, make_side: Callable[..., Side]) -> None:
    side = make_side(
        f"redis+sentinel://127.0.0.1:1,127.0.0.1:{group.sentinel.port}/{group.name}/0", publish_timeout_seconds=20
    )
    assert side.backend.name == "sentinel"
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    first = await side.publish("a", b"1")
    await await_for(lambda: sink.data("a") == [b"1"])
    await await_for(
        lambda: group.servers[1].command("EXISTS", f"{side.backend._settings.prefix}:0:{{a}}:l") == b":1\r\n"
    )

    await asyncio.to_thread(group.failover)
    # Until the Sentinel has demoted it, the old primary goes on accepting writes, and will throw them away.
    await await_for(lambda: _demoted(group.servers[0]))
    second, beside = await append_each(side, [batch("a", b"2"), batch("b", b"1")])
    assert (second.epoch, second.last, beside.last) == (first.epoch, 2, 1)
    await await_for(lambda: sink.confirmations("a") > 1)
    await side.publish("a", b"3")
    await await_for(lambda: sink.data("a")[-1] == b"3")
    assert sink.losses("a") >= 1
    assert datas(await side.page("a")) == [b"1", b"2", b"3"]


async def test_an_unknown_service_is_named(group: RedisSentinel, make_side: Callable[..., Side]) -> None:
    side = make_side(f"redis+sentinel://127.0.0.1:{group.sentinel.port}/nobody", publish_timeout_seconds=2)
    with pytest.raises(BackendUnavailable, match="nobody"):
        await side.publish("a", b"1")


def _demoted(server: RedisServer) -> bool:
    try:
        return b"role:slave" in server.command("INFO", "replication")
    except ConnectionResetError:  # the Sentinel ends the connections of whom it demotes, this one included
        return False
