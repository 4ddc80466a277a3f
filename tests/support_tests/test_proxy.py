"""The bad network is bad in exactly the way that was asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.support.http_stream import HTTPStream
from tests.support.requires import needs_redis7
from tests.support.servers import Server, serve
from tests.support.sse_client import SSEClient, follow
from tests.support.wait import wait_for


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve("uvicorn", "tests.apps.ticks:asgi") as running:
        yield running


def test_reconnecting_over_random_cuts_loses_nothing(proxy, server: Server) -> None:
    network = proxy(server.port)
    network.cut_randomly(seed=7, low=150, high=600)
    seen = follow(f"{network.url}/events?until=100", lambda frames: len(frames) == 100)
    assert [int(frame.id) for frame in seen.frames] == list(range(1, 101))
    assert seen.connections > 3
    assert network.cuts >= seen.connections - 1


def test_cuts_after_exactly_so_many_bytes(proxy, server: Server) -> None:
    network = proxy(server.port)
    network.cut_after(40)
    with pytest.raises(ConnectionError, match="inside the response head"):
        HTTPStream(f"{network.url}/events")


def test_cuts_right_behind_a_frame(proxy, server: Server) -> None:
    network = proxy(server.port)
    network.cut_behind(b"data: tick 3\n", times=2)
    seen = follow(f"{network.url}/events?until=100", lambda frames: len(frames) == 100)
    assert [int(frame.id) for frame in seen.frames] == list(range(1, 101))
    assert (network.cuts, network.behind_left, seen.connections) == (1, 1, 2)  # nobody sees that frame twice
    with SSEClient(f"{network.url}/events") as client:
        assert [frame.id for frame in client.rest()] == ["1", "2", "3"]
        assert client.ended == "cut"
    assert (network.cuts, network.behind_left) == (2, 0)


def test_refuses_and_accepts_again_on_the_same_port(proxy, server: Server) -> None:
    network = proxy(server.port)
    client = SSEClient(f"{network.url}/events")
    network.refuse()
    client.rest()
    assert client.ended == "cut"
    client.close()
    with pytest.raises(ConnectionRefusedError):
        HTTPStream(f"{network.url}/events")
    network.accept()
    with SSEClient(f"{network.url}/events") as again:
        assert again.next()


def test_holds_back_and_delivers_later(proxy, server: Server) -> None:
    network = proxy(server.port)
    with SSEClient(f"{network.url}/events") as client:
        client.take(1)
        network.hold()
        while client.next(0.2):  # what was on its way
            pass
        assert not client.ended
        network.flow()
        assert client.next()
    wait_for(lambda: network.active == 0)


@needs_redis7
def test_loses_the_reply_but_not_the_request(proxy, redis_server) -> None:
    network = proxy(redis_server.port)
    with redis.Redis.from_url(network.redis_url, retry=None) as client:
        client.set("count", 0)
        network.drop_reply(after=b"INCR")
        with pytest.raises(redis.exceptions.ConnectionError):
            client.incr("count")
        assert network.reply_dropped
        assert client.get("count") == b"1"

        network.drop_reply(after=b"INCR", refuse=True)
        for command in ("INCR", "GET"):
            with pytest.raises(redis.exceptions.ConnectionError):
                client.execute_command(command, "count")
        network.accept()
        assert client.get("count") == b"2"


@needs_redis7
def test_delay_is_added_to_both_directions(proxy, redis_server) -> None:
    network = proxy(redis_server.port)
    network.delay_seconds = 0.3
    client = redis.Redis.from_url(network.redis_url, socket_timeout=0.2, retry=None)
    with client, pytest.raises(redis.exceptions.TimeoutError):
        client.ping()
    network.delay_seconds = 0
    with redis.Redis.from_url(network.redis_url, retry=None) as client:
        assert client.ping()
