from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from uuid import uuid4

import pytest

from sse_bridge import Bridge
from sse_bridge.hub import threads
from tests.hub.scenarios import disregard_threads
from tests.interrupts.checks import Other

SECRET = "a secret of thirty-two bytes and more"

import_module("jwt")  # else the first token imports it, by thousands of points of Python's own


@pytest.fixture
def other() -> Iterator[Other]:
    other = Other()
    yield other
    other.end()


@pytest.fixture(params=["memory", "redis"])
def make_bridge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bridge]]:
    """Makes bridges of one prefix, with the settings that a test asks for."""
    monkeypatch.setattr(threads, "TICK_SECONDS", 0.02)
    url = "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")
    disregard_threads()
    prefix = f"interrupts{uuid4().hex}"
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            Bridge(url, prefix=prefix, linger_seconds=0, token_secret=SECRET, **settings)
        )


@pytest.fixture
def bridge(make_bridge: Callable[..., Bridge]) -> Bridge:
    return make_bridge()
