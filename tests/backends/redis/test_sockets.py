"""A Redis that is reached by a Unix socket, as hosters and single machines have it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sse_bridge import Bridge
from tests.bridge.both import Both
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    # a short path: a socket's has at most 107 bytes
    with tempfile.TemporaryDirectory(prefix="sse") as folder:
        path = Path(folder) / "redis.sock"
        with RedisServer(config=[f"unixsocket {path}", "requirepass secret"]):
            yield f"unix://:secret@{path}"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_publishing_and_reading_by_a_socket(address: str, asynchronous: bool) -> None:
    url = f"{address}?db=3&socket_timeout=1&max_connections=5&socket_keepalive=true\n"
    both = Both(Bridge(url, prefix=f"t{asynchronous}"), asynchronous)
    stream = both.subscribe("a")
    both.publish("a", 1)
    event = stream.next()
    assert event is not None
    assert event.data == 1
    assert [event.data for event in both.history("a")] == [1]
    stream.close()
    both.close()


def test_a_wrong_password_and_a_missing_socket_are_told(address: str) -> None:
    for url in (address.replace("secret", "wrong"), address.replace("redis.sock", "none.sock")):
        with Bridge(url, publish_timeout_seconds=0.3) as bridge, pytest.raises(Exception, match=r"."):
            bridge.publish("a", 1)


def test_options_without_effect_are_said_once(address: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sse_bridge.redis"):
        Bridge(f"{address}?timeout=3&encoding=utf-8").backend.name  # noqa: B018
    assert [record.getMessage() for record in caplog.records] == [
        "options of the Redis URL that are accepted and ignored: timeout, encoding"
    ]
