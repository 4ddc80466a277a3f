"""What the script answers to an append that says how long ago its first attempt was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
import redis

from sse_bridge.errors import PublishUncertain
from tests.backends.redis.test_scripts import keys
from tests.backends.sides import Side, batch


def retry(side: Side, admin: redis.Redis, append: object, age_ms: int) -> object:
    codec = side.backend._codec
    script = codec.append_script
    return admin.eval(script.source, *codec.append(append, age_ms))


def grow_old(admin: redis.Redis, log: str, milliseconds: int) -> None:
    """The entries are older than they were, as the broker's clock will have it."""
    for index, record in enumerate(admin.lrange(log, 0, -1)):
        words = record.split(b" ", 5)
        words[3] = b"%d" % (int(words[3]) - milliseconds)
        admin.lset(log, index, b" ".join(words))


def backdate(admin: redis.Redis, prefix: str, seconds: int) -> None:
    """The channel's life began earlier, and it was renewed earlier."""
    meta = keys(prefix, "a")[0]
    words = admin.get(meta).split()
    words[1:3] = [b"%d" % (int(word) - seconds) for word in words[1:3]]
    admin.set(meta, b" ".join(words), keepttl=True)


async def test_it_is_recognised(side: Side, admin: redis.Redis) -> None:
    first = batch("a", b"1", b"2")
    at = await side.append(first)
    await side.publish("a", *[b"more"] * 200)
    assert retry(side, admin, first, 1000) == [at.epoch, 2, first.entries[-1].check, 1, 1]
    assert (await side.page("a")).top == 202


async def test_a_first_attempt_that_comes_behind_its_retry(side: Side, admin: redis.Redis) -> None:
    first = batch("a", b"1", b"2")
    at = await side.append(first)
    again = await side.append(first)
    assert (again.recognised, again.last, again.check) == (True, 2, at.check)
    assert (await side.page("a")).top == 2


async def test_it_is_recognised_behind_the_end(side: Side, admin: redis.Redis) -> None:
    end = batch("a", b"end", close=True)
    at = await side.append(end)
    assert retry(side, admin, end, 1000) == [at.epoch, 1, at.check, 1, 1]


async def test_it_is_appended_when_the_log_proves_that_it_is_new(side: Side, admin: redis.Redis, prefix: str) -> None:
    await side.publish("a", b"1")
    backdate(admin, prefix, 10)
    reply = retry(side, admin, batch("a", b"2"), 1000)
    assert isinstance(reply, bytes)
    assert (await side.page("a")).top == 2


async def test_it_is_uncertain_in_a_new_log(side: Side, admin: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="UNCERTAIN"):
        retry(side, admin, batch("a", b"1"), 60_000)
    await side.publish("a", b"1")
    with pytest.raises(redis.ResponseError, match="UNCERTAIN"):
        retry(side, admin, batch("a", b"2"), 60_000)
    assert (await side.page("a")).top == 1


async def test_it_is_uncertain_when_the_log_does_not_reach_back(side: Side, admin: redis.Redis, prefix: str) -> None:
    await side.publish("a", b"1", b"2", b"3")
    backdate(admin, prefix, 100)
    admin.ltrim(keys(prefix, "a")[1], -2, -1)
    with pytest.raises(redis.ResponseError, match="UNCERTAIN"):
        retry(side, admin, batch("a", b"4"), 60_000)
    admin.delete(keys(prefix, "a")[1])
    with pytest.raises(redis.ResponseError, match="UNCERTAIN"):
        retry(side, admin, batch("a", b"4"), 60_000)


async def test_foreign_records_are_no_proof_that_nothing_was_trimmed(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str
) -> None:
    side = make_side(redis_url, replay_size=16)
    first = batch("a", b"trimmed by now")
    await side.append(first)
    await side.publish("a", *[b"more"] * 40)
    admin.rpush(keys(prefix, "a")[1], *[b"foreign"] * 60)
    backdate(admin, prefix, 100)
    with pytest.raises(redis.ResponseError, match="UNCERTAIN"):
        retry(side, admin, first, 60_000)


async def test_old_entries_end_the_search(side: Side, admin: redis.Redis, prefix: str) -> None:
    log = keys(prefix, "a")[1]
    await side.publish("a", b"1", b"2", b"3")
    grow_old(admin, log, 60_000)
    admin.ltrim(log, -2, -1)
    assert isinstance(retry(side, admin, batch("a", b"4"), 1000), bytes)


async def test_it_is_recognised_though_the_brokers_clock_was_set_forward(
    side: Side, admin: redis.Redis, prefix: str
) -> None:
    first = batch("a", b"1")
    at = await side.append(first)
    await side.publish("a", *[b"more"] * 15)
    grow_old(admin, keys(prefix, "a")[1], 3_600_000)
    assert retry(side, admin, first, 1000) == [at.epoch, 1, at.check, 1, 1]


async def test_what_was_appended_under_another_retention_is_not_taken_for_new(
    side: Side, admin: redis.Redis, prefix: str
) -> None:
    """A spooled retry comes when the list has expired and nothing is kept any more."""
    await side.publish("a", b"renews both")
    backdate(admin, prefix, 100)
    first = batch("a", b"stored, and the answer was lost")
    began = time.monotonic()
    await side.append(first)
    await side.publish("a", b"and another behind it")
    await asyncio.to_thread(side.backend.change_retention, 0, 3600.0)
    admin.delete(keys(prefix, "a")[1])
    with pytest.raises(PublishUncertain):
        await side.append(first._replace(unknown_since=began))
    assert (await side.page("a")).top == 3


@pytest.mark.parametrize("replay_size", [0, 1000])
async def test_an_empty_log_that_is_old_enough_proves_that_it_is_new(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str, replay_size: int
) -> None:
    side = make_side(redis_url, replay_size=replay_size)
    await side.publish("a", b"1")
    admin.delete(keys(prefix, "a")[1])
    backdate(admin, prefix, 500)
    assert (await side.append(batch("a", b"2", unknown_since=time.monotonic()))).last == 2
