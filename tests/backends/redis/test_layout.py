"""Two versions of the library that share a prefix agree on its layout, or they have different versions of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from difflib import unified_diff

import pytest
import redis

from sse_bridge.backends.redis.keys import LAYOUT_VERSION
from tests.backends.redis import layout
from tests.support.redis_server import RedisServer

ADVICE = (
    "The layout of version {0} has changed, and processes of before and after would share a prefix without understanding each "
    "other. Raise LAYOUT_VERSION in sse_bridge/backends/redis/keys.py, write layout_{1}.json by `python -m "
    "tests.backends.redis.layout redis://localhost`, and say in the CHANGELOG and in docs/deploy.md what an upgrade needs.\n{2}"
)


def test_it_is_the_one_that_its_version_names(private_redis: Callable[..., RedisServer]) -> None:
    version = LAYOUT_VERSION.decode()
    with redis.Redis.from_url(private_redis().url) as client:
        now = layout.observed(client)
        assert client.dbsize() == 0
    path = layout.path_of(version)
    assert path.exists(), f"{path.name} is missing: its version is new, so write it (see layout.py)"
    then = json.loads(path.read_text("utf-8"))
    lines = [json.dumps(each, indent=1, ensure_ascii=False).split("\n") for each in (then, json.loads(json.dumps(now)))]
    changed = "\n".join(unified_diff(*lines, f"layout {version}", "this code", lineterm=""))
    assert not changed, ADVICE.format(version, int(version) + 1, changed)


def test_the_newest_that_was_written_is_the_one_in_use() -> None:
    written = [int(path.stem.partition("_")[2]) for path in layout.FOLDER.glob("layout_*.json")]
    assert max(written) == int(LAYOUT_VERSION)


def test_one_in_use_is_not_overwritten() -> None:
    with pytest.raises(SystemExit, match="raise LAYOUT_VERSION"):
        layout.main("redis://127.0.0.1:1")
