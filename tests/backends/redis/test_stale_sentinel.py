"""A Sentinel that names a server which is no primary any more, or no server at all, while another one knows better."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from sse_bridge.backends.redis.calls import AppendCall
from sse_bridge.errors import BackendUnavailable
from tests.backends.sides import Recorder, Side, batch, datas
from tests.support.process import free_port
from tests.support.redis_server import RedisServer
from tests.support.requires import require
from tests.support.stale_sentinel import StaleSentinel
from tests.support.wait import await_for, wait_for


class Group(NamedTuple):
    """Two servers, and two Sentinels that name what a test has them name; the URL lists `stale` first."""

    demoted: RedisServer
    primary: RedisServer
    stale: StaleSentinel
    right: StaleSentinel

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.stale.port},127.0.0.1:{self.right.port}/primary/0"


@pytest.fixture
def group() -> Iterator[Group]:
    require("redis7")
    with ExitStack() as stack:
        primary = stack.enter_context(RedisServer(config=["repl-diskless-sync-delay 0"]))
        demoted = stack.enter_context(RedisServer(config=["repl-diskless-sync-delay 0"]))
        follow(demoted, primary)
        stale = stack.enter_context(StaleSentinel(demoted.port))
        right = stack.enter_context(StaleSentinel(primary.port))
        yield Group(demoted, primary, stale, right)


def follow(replica: RedisServer, primary: RedisServer) -> None:
    replica.command("REPLICAOF", "127.0.0.1", primary.port)
    wait_for(lambda: b"master_link_status:up" in replica.command("INFO", "replication"), what="a replica")


def end_connections(server: RedisServer) -> None:
    """As a Sentinel does with those of the primary that it demotes."""
    for kind in ("pubsub", "normal"):
        server.command("CLIENT", "KILL", "TYPE", kind)


@pytest.mark.parametrize("named", ["a primary that was demoted", "a port where nobody listens"])
async def test_the_next_sentinel_is_asked_and_the_first_one_later(
    group: Group, make_side: Callable[..., Side], named: str
) -> None:
    if "nobody" in named:
        group.stale.names = free_port()
    side = make_side(group.url, publish_timeout_seconds=20)
    first = await side.publish("a", b"1")
    assert (first.last, group.stale.asked, group.right.asked) == (1, 1, 1)
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a") == 1)
    await side.publish("a", b"2")
    await await_for(lambda: sink.data("a") == [b"2"])

    asked = group.right.asked
    end_connections(group.primary)
    await await_for(lambda: sink.confirmations("a") == 2)
    await side.publish("a", b"3")
    await await_for(lambda: sink.data("a")[-1] == b"3")
    assert group.right.asked > asked
    assert group.stale.asked == 1, "it misled once, so it is asked after the others"
    assert datas(await side.page("a")) == [b"1", b"2", b"3"]
    assert group.primary.command("LLEN", f"{side.backend._settings.prefix}:0:{{a}}:l") == b":3\r\n"


async def test_a_reader_that_comes_first_hears_the_primary(group: Group, make_side: Callable[..., Side]) -> None:
    group.demoted.command("REPLICAOF", "127.0.0.1", 1)  # as a replica it would repeat what is announced to the primary
    side = make_side(group.url, publish_timeout_seconds=20)
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    assert group.stale.asked
    await side.publish("a", b"1")
    await await_for(lambda: sink.data("a") == [b"1"])
    assert b"sub=1" in group.primary.command("CLIENT", "LIST", "TYPE", "pubsub")
    assert b"sub=1" not in group.demoted.command("CLIENT", "LIST", "TYPE", "pubsub")


async def test_a_primary_is_demoted_in_use_and_one_sentinel_does_not_hear_of_it(
    group: Group, make_side: Callable[..., Side]
) -> None:
    group.stale.names = group.primary.port
    side = make_side(group.url, publish_timeout_seconds=20)
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a") == 1)
    first = await side.publish("a", b"1")
    await await_for(lambda: sink.data("a") == [b"1"])
    assert group.stale.asked
    assert not group.right.asked

    before, after = group.primary, group.demoted
    log = f"{side.backend._settings.prefix}:0:{{a}}:l"
    await await_for(lambda: after.command("LLEN", log) == b":1\r\n")
    after.command("REPLICAOF", "NO", "ONE")
    await asyncio.to_thread(follow, before, after)
    group.right.names = after.port
    end_connections(before)
    second = await side.publish("a", b"2")
    assert (second.epoch, second.last) == (first.epoch, 2)
    await await_for(lambda: sink.confirmations("a") == 2)
    await side.publish("a", b"3")
    await await_for(lambda: sink.data("a")[-1] == b"3")
    assert datas(await side.page("a")) == [b"1", b"2", b"3"]
    assert after.command("LLEN", log) == b":3\r\n"


async def test_where_every_sentinel_is_wrong_the_error_says_what_was_found(
    group: Group, make_side: Callable[..., Side]
) -> None:
    group.right.names = group.demoted.port
    side = make_side(group.url, publish_timeout_seconds=1)

    async def told() -> bool:
        """The last attempt before a deadline may have found no time to be answered."""
        with pytest.raises(BackendUnavailable) as error:
            await side.publish("a", b"1")
        return f"primary at 127.0.0.1:{group.demoted.port}, got the role b'slave'" in str(error.value)

    await await_for(told)
    assert group.stale.asked
    assert group.right.asked
    assert group.demoted.command("DBSIZE") == b":0\r\n"
    group.right.names = group.primary.port

    async def stored() -> bool:
        try:
            return (await side.publish("a", b"1")).last == 1
        except BackendUnavailable:  # the breaker is open until its next probe
            return False

    await await_for(stored)


async def test_a_search_without_time_says_so(group: Group, make_side: Callable[..., Side]) -> None:
    """It has not found that nobody answers, which is what a caller on a loaded machine would believe."""
    side = make_side(group.url)
    call = AppendCall(side.backend._codec, batch("a", b"1"))
    if side.colour == "threads":
        await asyncio.to_thread(side.backend._client.run, (call,), 0.0)
    else:
        await side.backend._side().client.run((call,), 0.0)
    assert isinstance(call.error, BackendUnavailable)
    assert str(call.error) == (
        "publishing to 'a': Redis could not be reached: the deadline passed before a server could be asked "
        "('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'primary')"
    )
    assert not group.stale.asked
