"""The scripts on a real Redis: what is stored, for how long, and what is not to be trusted."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import redis

from sse_bridge.errors import BackendError, ChannelClosed, PublishUncertain
from sse_bridge.events import NO_EPOCH
from sse_bridge.records.codec import decode_announcement, decode_record, encode_record
from sse_bridge.records.continuity import EXPIRED, TRIMMED, Point, judge
from tests.backends.sides import Recorder, Side, batch, datas, offsets
from tests.support.wait import await_for


def keys(prefix: str, channel: str) -> tuple[str, str]:
    return f"{prefix}:0:{{{channel}}}", f"{prefix}:0:{{{channel}}}:l"


async def test_records_are_exactly_those_of_events_py(side: Side, admin: redis.Redis, prefix: str) -> None:
    one = batch("a", b"one")
    two = batch("a", b"two\nlines", b"three")
    epoch = (await side.append(one)).epoch
    await side.append(two)
    stored = admin.lrange(keys(prefix, "a")[1], 0, -1)
    prev = b"0"
    for offset, (new, record) in enumerate(zip(one.entries + two.entries, stored, strict=True), 1):
        time_ms = decode_record(epoch, record).time_ms
        assert record == encode_record(offset, prev, new.check, time_ms, new.head, new.data, True)
        prev = new.check


async def test_time_is_the_brokers(side: Side, admin: redis.Redis, prefix: str) -> None:
    for _ in range(20):
        before = admin.time()
        await side.publish("a", b"1")
        after = admin.time()
        entry = (await side.page("a", offset=-1)).entries[0]
        assert before[0] * 1000 + before[1] // 1000 <= entry.time_ms <= after[0] * 1000 + after[1] // 1000


async def test_announcements_are_exactly_those_of_events_py(side: Side, admin: redis.Redis, prefix: str) -> None:
    with admin.pubsub() as pubsub:
        pubsub.subscribe(f"{prefix}:0:{{a}}")
        assert pubsub.get_message(timeout=60)

        async def heard(*data: bytes) -> bytes:
            await side.publish("a", *data)
            message = pubsub.get_message(ignore_subscribe_messages=True, timeout=5)
            assert message is not None
            return bytes(message["data"])

        payload = await heard(b"1")
        stored = admin.lrange(keys(prefix, "a")[1], 0, -1)
        epoch = (await side.page("a")).epoch
        assert payload == b"%b 1 %d\n%b" % (epoch, len(stored[0]), stored[0])
        payload = await heard(b"2")  # alone, and `prev` says which history it continues
        assert [payload] == admin.lrange(keys(prefix, "a")[1], 1, 1)
        payload = await heard(b"3", b"44")
        stored = admin.lrange(keys(prefix, "a")[1], 2, -1)
        assert payload == b"%b 4 %d %d\n%b%b" % (epoch, len(stored[0]), len(stored[1]), stored[0], stored[1])
        for large in ([b"x" * 20_000], [b"x" * 9_000, b"y" * 9_000]):
            payload = await heard(*large)
            announcement = decode_announcement(payload)
            top = (await side.page("a")).top
            assert (payload, announcement.entries) == (b"%b %d\n" % (epoch, top), [])


async def test_the_log_lives_as_long_as_promised(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str
) -> None:
    side = make_side(redis_url, replay_seconds=800)
    meta, log = keys(prefix, "a")
    await side.publish("a", b"1")
    assert 800_000 < admin.pttl(log) <= 900_000
    assert 86_400_000 <= admin.pttl(meta) <= 97_200_000
    epoch, born, _, check, _ = admin.get(meta).split()
    # it is renewed after 100 s; what is due later was written under another retention, or by a clock that was set back
    for left, expected in ((1, False), (0, True), (100, False), (101, True)):
        # whole seconds are compared: none may begin between this look at the clock and the append's own
        await await_for(lambda: int(admin.time()[1]) < 500_000, what="the first half of a second of the broker's")
        values = [epoch, born, b"%010d" % (int(admin.time()[0]) + left), check, b"1"]
        admin.set(meta, b" ".join(values), px=50_000)
        admin.pexpire(log, 50_000)
        await side.publish("a", b"2")
        assert (admin.pttl(log) > 800_000) == expected
        assert (admin.pttl(meta) > 800_000) == expected
    assert admin.ttl(f"{prefix}:retention") == -1


async def test_the_meta_outlives_a_long_log(
    make_side: Callable[..., Side], redis_url: str, admin: redis.Redis, prefix: str
) -> None:
    side = make_side(redis_url, replay_seconds=100_000)
    await side.publish("a", b"1")
    assert admin.pttl(keys(prefix, "a")[0]) > 1_000_000_000


async def test_watching_a_quiet_channel_keeps_its_epoch(side: Side, admin: redis.Redis, prefix: str) -> None:
    epoch = (await side.publish("a", b"1")).epoch
    admin.pexpire(keys(prefix, "a")[0], 10_000)
    assert (await side.page("a", limit=0)).epoch == epoch
    assert admin.pttl(keys(prefix, "a")[0]) > 80_000_000


async def test_an_idempotency_key_says_nothing_of_a_log_without_its_entry(
    side: Side, admin: redis.Redis, prefix: str
) -> None:
    meta, entries = keys(prefix, "a")
    before = await side.publish("a", b"0")
    kept = [admin.dump(key) for key in (meta, entries)]
    for others in (0, 3):
        await side.publish("a", b"1", idempotency_key=f"k{others}")
        for key, value in zip((meta, entries), kept, strict=True):
            admin.restore(key, 0, value, replace=True)  # as a failover leaves it
        for _ in range(others):
            await side.publish("a", b"another in its place")
        again = await side.publish("a", b"1", idempotency_key=f"k{others}")
        assert (again.epoch, again.last, again.recognised) == (before.epoch, before.last + others + 1, False)
        known = await side.publish("a", b"1", idempotency_key=f"k{others}")
        assert (known.last, known.recognised) == (again.last, True)
    admin.delete(meta, entries)
    anew = await side.publish("a", b"1", idempotency_key="k0")
    assert (anew.last, anew.recognised, anew.epoch != before.epoch) == (1, False, True)


async def test_an_idempotency_key_lives_five_minutes(side: Side, admin: redis.Redis, prefix: str) -> None:
    await side.publish("a", b"1", idempotency_key="k")
    (key,) = admin.keys(f"{prefix}:0:{{a}}:k:*")
    assert 290_000 < admin.pttl(key) <= 300_000


async def test_an_evicted_meta_begins_a_new_life(side: Side, admin: redis.Redis, prefix: str) -> None:
    first = await side.publish("a", b"1", b"2")
    admin.delete(keys(prefix, "a")[0])
    second = await side.publish("a", b"new")
    page = await side.page("a")
    assert second.epoch != first.epoch
    assert (datas(page), offsets(page)) == ([b"new"], [1])

    admin.delete(keys(prefix, "a")[0])
    page = await side.page("a")
    assert (page.epoch, page.top, page.entries) == (NO_EPOCH, 0, [])
    await side.publish("a", b"ephemeral", ephemeral=True)
    assert not admin.exists(keys(prefix, "a")[0])
    third = await side.publish("a", b"newest")
    assert third.epoch not in (first.epoch, second.epoch)
    assert datas(await side.page("a")) == [b"newest"]  # and not what the older life left


async def test_an_evicted_list_is_an_expired_log(side: Side, admin: redis.Redis, prefix: str) -> None:
    first = await side.publish("a", b"1", b"2")
    admin.delete(keys(prefix, "a")[1])
    page = await side.page("a")
    assert (page.epoch, page.top, page.first, page.entries) == (first.epoch, 2, 3, [])
    verdict = judge(Point(first.epoch, 1, b"whatever"), page)
    assert verdict is not None
    assert verdict.gap is not None
    assert verdict.gap.reason == EXPIRED

    await side.publish("a", b"3")
    page = await side.page("a", epoch=first.epoch, offset=1)
    assert (offsets(page), page.first) == ([3], 3)
    assert page.entries[0].prev == first.check
    verdict = judge(Point(first.epoch, 1, b"whatever"), page)
    assert verdict is not None
    assert verdict.gap is not None
    assert verdict.gap.reason == TRIMMED
    assert admin.pttl(keys(prefix, "a")[1]) > 0


async def test_a_key_of_another_type_changes_nothing(side: Side, admin: redis.Redis, prefix: str) -> None:
    meta, log = keys(prefix, "a")
    await side.publish("a", b"1")
    before = admin.get(meta)
    admin.set(log, "not a list")
    with pytest.raises(BackendError, match="another prefix"):
        await side.publish("a", b"2")
    assert admin.get(meta) == before
    with pytest.raises(BackendError):
        await side.page("a")

    admin.delete(meta, log)
    admin.hset(meta, "not", "ours")
    with pytest.raises(BackendError, match="WRONGTYPE"):
        await side.publish("a", b"2")
    for foreign in ("not ours", "9" * 50, "-" * 40 + "17", f"{'x' * 39} {'9' * 40}", before + b" closed for today"):
        admin.set(meta, foreign)
        with pytest.raises(BackendError, match="not written by this library"):
            await side.publish("a", b"2")
        with pytest.raises(BackendError, match="not written by this library"):
            await side.page("a")
    assert not admin.exists(log)


async def test_foreign_records_leave_a_hole_and_no_exception(
    side: Side, admin: redis.Redis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = keys(prefix, "a")[1]
    epoch = (await side.publish("a", b"1", b"2")).epoch
    admin.rpush(log, b"\xff foreign", b"1 999")
    await side.publish("a", b"3", b"4")
    admin.lpush(log, b"before")
    admin.rpush(log, b"after")
    with caplog.at_level(logging.WARNING):
        assert offsets(await side.page("a")) == [1, 2, 3, 4]
        for offset in range(4):
            page = await side.page("a", epoch=epoch, offset=offset)
            assert offsets(page) == list(range(offset + 1, 5))
            assert page.start == offset + 1
            assert offsets(await side.page("a", offset=offset, limit=1)) == [offset + 1]
        assert offsets(await side.page("a", offset=-2)) == [3, 4]
    assert len([record for record in caplog.records if "foreign" in record.message]) == 1
    admin.lset(log, 2, b"1 replaced")  # entry 2
    page = await side.page("a")
    assert offsets(page) == [1, 3, 4]
    assert not page.more


async def test_a_log_full_of_foreign_records_still_moves_on(side: Side, admin: redis.Redis, prefix: str) -> None:
    log = keys(prefix, "a")[1]
    await side.publish("a", b"1")
    admin.rpush(log, *[b"foreign"] * 600)
    await side.publish("a", b"2")
    page = await side.page("a", offset=1)
    assert (offsets(page), page.more) == ([2], False)


async def test_a_foreign_message_is_told_as_none(side: Side, admin: redis.Redis, prefix: str) -> None:
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    for payload in (b"hello", b"", b"e x 1\n1", b"e 1 5\nwrong"):
        admin.publish(f"{prefix}:0:{{a}}", payload)
    await side.publish("a", b"1")
    await await_for(lambda: sink.entries)
    assert [what for kind, what in sink.told if kind == "announced"][:4] == [("a", None)] * 4


async def test_databases_and_prefixes_do_not_hear_each_other(
    make_side: Callable[..., Side], redis_url: str, prefix: str
) -> None:
    sides = [make_side(redis_url), make_side(redis_url[:-1] + "1"), make_side(redis_url, prefix=prefix + ":1")]
    sinks = []
    for side in sides:
        sinks.append(sink := Recorder())
        side.upstream(sink).subscribe(["a"])
    for sink in sinks:
        await await_for(lambda sink=sink: sink.confirmations("a"))
    for index, side in enumerate(sides):
        await side.publish("a", b"%d" % index)
    for index, sink in enumerate(sinks):
        await await_for(lambda sink=sink: sink.entries)
        assert sink.data("a") == [b"%d" % index]


async def test_a_batch_beyond_luas_stack(make_side: Callable[..., Side], redis_url: str) -> None:
    side = make_side(redis_url, replay_size=10_000)
    appended = await side.publish("a", *[b"%d" % number for number in range(9000)])
    assert appended.last == 9000
    page = await side.page("a", limit=10_000)
    assert datas(page) == [b"%d" % number for number in range(9000)]


async def test_a_script_flush_is_not_noticed(side: Side, admin: redis.Redis) -> None:
    await side.publish("a", b"1")
    admin.script_flush()
    assert (await side.publish("a", b"2")).last == 2
    admin.script_flush()
    assert offsets(await side.page("a")) == [1, 2]


async def test_errors_have_the_right_class(side: Side) -> None:
    await side.publish("a", b"end", close=True)
    with pytest.raises(ChannelClosed) as closed:
        await side.publish("a", b"1")
    assert not isinstance(closed.value, PublishUncertain)
