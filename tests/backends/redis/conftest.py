from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from sse_bridge.backends.redis import RedisBackend
from sse_bridge.config import Settings
from sse_bridge.events import new_token
from tests.backends.sides import COLOURS, Side


@pytest.fixture
def prefix() -> str:
    """A prefix of the test's own, so that tests share a server."""
    return f"t{new_token().decode()}"


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """Somebody else's client on the shared server."""
    with closing(redis.Redis.from_url(redis_url)) as client:
        yield client


@pytest.fixture(params=COLOURS)
async def make_side(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Callable[..., Side]]:
    """Makes backends of one colour: `make_side(url, replay_size=…)`; all are closed at the end.

    A publish that must succeed has a minute, not the default's five seconds, in which a busy machine may stand still.
    """
    sides: list[Side] = []

    def make(url: str, **settings: Any) -> Side:
        settings = {"prefix": prefix, "publish_timeout_seconds": 60, **settings}
        sides.append(Side(RedisBackend(Settings(url=url, **settings)), request.param))
        return sides[-1]

    yield make
    for side in sides:
        await side.close()


@pytest.fixture
def side(make_side: Callable[..., Side], redis_url: str) -> Side:
    return make_side(redis_url)
