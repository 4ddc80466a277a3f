"""A list that somebody else pushed to or cut: whatever entries are left are read, by their offsets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sse_bridge.backends.redis import RedisBackend
from sse_bridge.config import Settings
from sse_bridge.events import new_token
from sse_bridge.records.continuity import judge
from tests.backends.sides import Side, batch, offsets


def list_of(prefix: str, channel: str) -> str:
    return f"{prefix}:0:{{{channel}}}:l"


@pytest.mark.parametrize("hole", [20, 33, 60, 99])
async def test_a_list_cut_at_its_end_gives_what_it_holds(
    side: Side, admin: redis.Redis, prefix: str, hole: int
) -> None:
    epoch = (await side.publish("a", *[b"old"] * 100)).epoch
    admin.rpop(list_of(prefix, "a"), hole)
    await side.publish("a", *[b"new"] * 29)
    point = await side.publish("a", b"where the reader stands")
    await side.publish("a", *[b"new"] * 10)
    page = await side.page("a", epoch=epoch, offset=130)
    assert offsets(page) == list(range(131, 141))
    verdict = judge((await side.page("a", offset=129, limit=1)).entries[0], page)
    assert verdict is not None
    assert verdict.gap is None
    assert (point.last, offsets(await side.page("a", offset=-3))) == (130, [138, 139, 140])
    assert offsets(await side.page("a", offset=100)) == list(range(101, 141))


async def test_entries_behind_many_foreign_ones_are_found(side: Side, admin: redis.Redis, prefix: str) -> None:
    await side.publish("a", b"1")
    admin.lpush(list_of(prefix, "a"), *[b"foreign"] * 400)
    admin.rpush(list_of(prefix, "a"), *[b"foreign"] * 400)
    await side.publish("a", b"2", b"3")
    assert offsets(await side.page("a")) == [1, 2, 3]
    assert offsets(await side.page("a", offset=2)) == [3]


STEP = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 80)),
    st.tuples(st.just("rpop"), st.integers(1, 60)),
    st.tuples(st.just("lpop"), st.integers(1, 20)),
    st.tuples(st.just("rpush"), st.integers(1, 40)),
    st.tuples(st.just("lpush"), st.integers(1, 10)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=1, max_size=8))
def test_whatever_was_pushed_and_cut_each_entry_is_read_by_its_offset(
    redis_url: str, admin: redis.Redis, prefix: str, steps: list[tuple[str, int]]
) -> None:
    backend = RedisBackend(Settings(url=redis_url, prefix=prefix))
    side, channel = Side(backend, "threads"), new_token().decode()
    name = list_of(prefix, channel)
    others: dict[str, Callable[[int], object]] = {
        "rpop": lambda count: admin.rpop(name, count),
        "lpop": lambda count: admin.lpop(name, count),
        "rpush": lambda count: admin.rpush(name, *[b"foreign"] * count),
        "lpush": lambda count: admin.lpush(name, *[b"1 foreign"] * count),
    }

    async def check() -> None:
        for what, count in steps:
            if what == "publish":
                await side.append(batch(channel, *[b"x"] * count))
            else:
                others[what](count)
        kept = [int(match[1]) for record in admin.lrange(name, 0, -1) if (match := re.match(rb"1 (\d+) ", record))]
        for index, offset in enumerate(kept):
            page = await side.page(channel, offset=offset - 1, limit=300)
            assert offsets(page) == kept[index : index + 300]
        await side.close()

    asyncio.run(check())
