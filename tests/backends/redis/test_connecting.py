"""What making a connection does besides."""

from __future__ import annotations

import importlib.metadata

import pytest

from sse_bridge import Bridge
from tests.bridge.both import Both


@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_connection_looks_the_version_of_a_package_up(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    """It takes most of the time of connecting, and `importlib.metadata` suppresses what a signal handler raises there."""

    def looked_up(*_: object) -> str:
        raise AssertionError("all installed packages were looked through")

    both = Both(Bridge(redis_url, prefix=prefix), asynchronous)
    monkeypatch.setattr(importlib.metadata, "version", looked_up)
    both.publish("a", 1)
    stream = both.subscribe("a")
    both.publish("a", 2)
    assert stream.next() is not None
    stream.close()
    both.close()
