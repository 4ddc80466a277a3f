"""One body over memory and Redis and over both colours."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from sse_bridge import Bridge

from .both import Both


@pytest.fixture(params=["memory-sync", "memory-async", "redis-sync", "redis-async"])
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    kind, colour = request.param.split("-")
    url = "memory://" if kind == "memory" else request.getfixturevalue("redis_url")
    settings = {} if kind == "memory" else {"prefix": f"t{uuid.uuid4().hex[:12]}"}
    both = Both(Bridge(url, replay_size=50, **settings), colour == "async")
    yield both
    if not both.bridge.closed:
        both.close()
