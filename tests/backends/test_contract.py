"""What `backends/base.py` promises, over every backend and both colours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sse_bridge.backends.memory import MemoryBackend
from sse_bridge.backends.redis import RedisBackend
from sse_bridge.config import Settings
from sse_bridge.errors import ChannelClosed
from sse_bridge.events import GENESIS, NO_EPOCH, new_token
from sse_bridge.records.continuity import Point, ReadRequest
from tests.backends.sides import COLOURS, Recorder, Side, batch, datas, offsets
from tests.hub.scenarios import disregard_threads, our_threads
from tests.support.wait import await_for

SIZE = 40


@pytest.fixture(params=["memory", "redis"])
def backend_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=COLOURS)
async def side(backend_name: str, request: pytest.FixtureRequest) -> AsyncIterator[Side]:
    if backend_name == "memory":
        backend: MemoryBackend | RedisBackend = MemoryBackend(Settings(replay_size=SIZE))
    else:
        url = request.getfixturevalue("redis_url")
        backend = RedisBackend(Settings(url=url, prefix=f"t{new_token().decode()}", replay_size=SIZE))
    side = Side(backend, request.param)
    yield side
    await side.close()


async def test_offsets_and_checks_form_a_chain(side: Side) -> None:
    first = await side.publish("a", b"1")
    second = await side.append(two := batch("a", b"2", b"3"))
    page = await side.page("a")
    assert (first.last, second.last) == (1, 3)
    assert first.epoch == second.epoch == page.epoch
    assert second.check == two.entries[-1].check == page.top_check
    assert datas(page) == [b"1", b"2", b"3"]
    assert offsets(page) == [1, 2, 3]
    assert [entry.prev for entry in page.entries] == [GENESIS, first.check, two.entries[0].check]
    assert (page.top, page.first, page.start, page.closed, page.more) == (3, 1, 1, False, False)


async def test_an_entry_comes_back_as_it_went(side: Side) -> None:
    data = bytes(range(256)) + "“ü”\u2028".encode()
    await side.publish("a", data)
    (entry,) = (await side.page("a")).entries
    assert (entry.data, entry.type, entry.visibility, entry.kind, entry.stored) == (data, "order.paid", "u", "J", True)
    assert entry.time_ms > 1_700_000_000_000


async def test_a_channel_without_entries_has_a_page_and_no_epoch(side: Side) -> None:
    page = await side.page("quiet", offset=-3)
    assert (page.epoch, page.top, page.top_check) == (NO_EPOCH, 0, GENESIS)
    assert (page.first, page.start, page.entries, page.closed, page.more) == (1, 1, [], False, False)
    sink = Recorder()
    side.upstream(sink).subscribe(["quiet"])
    await await_for(lambda: sink.confirmations("quiet"))
    told = await side.publish("quiet", b"ephemeral", ephemeral=True)
    assert (told.epoch, told.last) == (NO_EPOCH, 0)
    assert await side.page("quiet", epoch=NO_EPOCH) == await side.page("quiet")
    at = await side.publish("quiet", b"1")
    assert (await side.page("quiet", epoch=NO_EPOCH)).head == Point(at.epoch, 1, at.check)
    await await_for(lambda: len(sink.entries) == 2)
    assert [(entry.epoch, entry.offset, entry.prev, entry.stored) for _, entry in sink.entries] == [
        (NO_EPOCH, 0, GENESIS, False), (at.epoch, 1, GENESIS, True)]  # fmt: skip


async def test_ranges(side: Side) -> None:
    for number in range(10):
        await side.publish("a", b"%d" % number)
    epoch = (await side.page("a")).epoch

    assert offsets(await side.page("a", epoch=epoch, offset=7)) == [8, 9, 10]
    assert offsets(await side.page("a", epoch=b"another1", offset=7)) == list(range(1, 11))
    assert offsets(await side.page("a", offset=-2)) == [9, 10]
    assert offsets(await side.page("a", offset=-99)) == list(range(1, 11))
    limited = await side.page("a", offset=2, limit=3)
    assert (offsets(limited), limited.start, limited.more) == ([3, 4, 5], 3, True)
    last = await side.page("a", offset=7, limit=3)
    assert (offsets(last), last.more) == ([8, 9, 10], False)
    head = await side.page("a", limit=0)
    assert (head.entries, head.top, head.first, head.start) == ([], 10, 1, 11)
    assert offsets(await side.page("a", offset=10)) == []
    assert offsets(await side.page("a", offset=99)) == []


async def test_a_page_stops_at_max_bytes_but_holds_one_entry(side: Side) -> None:
    for _ in range(5):
        await side.publish("a", b"x" * 1000)
    page = await side.page("a", max_bytes=1)
    assert (offsets(page), page.more) == ([1], True)
    page = await side.page("a", max_bytes=2500)
    assert 2 <= len(page.entries) <= 3
    assert page.more


async def test_several_reads_in_one_call(side: Side) -> None:
    for channel in ("a", "b"):
        await side.publish(channel, channel.encode())
    pages = await side.read(*[ReadRequest(channel) for channel in ("b", "a", "none", "b")])
    assert [datas(page) for page in pages] == [[b"b"], [b"a"], [], [b"b"]]


async def test_the_log_is_trimmed_to_its_size_and_an_eighth(side: Side) -> None:
    for number in range(3 * SIZE):
        await side.publish("a", b"%d" % number)
    page = await side.page("a")
    assert page.top == 3 * SIZE
    assert SIZE <= len(page.entries) <= SIZE + 16
    assert page.first == page.start == page.entries[0].offset == 3 * SIZE - len(page.entries) + 1


async def test_nothing_follows_the_end(side: Side) -> None:
    await side.publish("a", b"1")
    end = await side.publish("a", b"end", close=True)
    page = await side.page("a")
    assert (page.closed, page.top, end.last) == (True, 2, 2)
    with pytest.raises(ChannelClosed, match="'a'"):
        await side.publish("a", b"2")
    with pytest.raises(ChannelClosed):
        await side.publish("a", b"2", ephemeral=True)
    assert (await side.page("a")).top == 2


async def test_an_idempotency_key_returns_the_first_position(side: Side) -> None:
    await side.publish("a", b"0")
    first = await side.publish("a", b"first", idempotency_key="key ü\n" * 100)
    await side.publish("a", b"other", idempotency_key="other")
    await side.publish("b", b"first", idempotency_key="key ü\n" * 100)
    again = await side.publish("a", b"second", idempotency_key="key ü\n" * 100)
    assert again.recognised
    assert (again.epoch, again.last, again.check) == (first.epoch, 2, first.check)
    assert datas(await side.page("a")) == [b"0", b"first", b"other"]
    assert datas(await side.page("b")) == [b"first"]


async def test_live_messages_carry_the_entries(side: Side) -> None:
    sink = Recorder()
    side.upstream(sink).subscribe(["a", "b"])
    await await_for(lambda: sink.confirmations("a") and sink.confirmations("b"))
    await side.publish("a", b"1")
    await side.publish("a", b"2", b"3")
    await side.publish("b", b"4")
    await side.publish("c", b"5")
    await await_for(lambda: len(sink.entries) == 4)
    assert sink.data("a") == [b"1", b"2", b"3"]
    assert sink.data("b") == [b"4"]
    assert sink.flushes
    page = await side.page("a")
    live = [entry for channel, entry in sink.entries if channel == "a"]
    for one, other in zip(live, page.entries, strict=True):
        assert (one.epoch, one.offset, one.prev, one.check, one.time_ms, one.type) == (
            other.epoch, other.offset, other.prev, other.check, other.time_ms, other.type)  # fmt: skip


async def test_an_ephemeral_event_follows_the_head_and_is_not_stored(side: Side) -> None:
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    await side.publish("a", b"before any", ephemeral=True)
    stored = await side.publish("a", b"stored")
    shown = await side.publish("a", b"token", b"x" * 40_000, ephemeral=True)
    await side.publish("a", b"later")
    await await_for(lambda: len(sink.entries) == 5)
    assert [(entry.stored, entry.offset, entry.prev) for _, entry in sink.entries] == [
        (False, 0, GENESIS), (True, 1, GENESIS), (False, 1, stored.check), (False, 1, stored.check), (True, 2, stored.check),
    ]  # fmt: skip
    assert sink.data("a")[3] == b"x" * 40_000
    assert shown.last == 1
    assert datas(await side.page("a")) == [b"stored", b"later"]


async def test_unsubscribing_ends_it(side: Side) -> None:
    sink = Recorder()
    upstream = side.upstream(sink)
    upstream.subscribe(["a", "b"])
    await await_for(lambda: sink.confirmations("a") and sink.confirmations("b"))
    upstream.unsubscribe(["a"])
    await side.publish("a", b"1")
    await side.publish("b", b"2")
    await await_for(lambda: sink.data("b"))
    upstream.subscribe(["a"])
    await await_for(lambda: sink.confirmations("a") == 2)
    await side.publish("a", b"3")
    await await_for(lambda: b"3" in sink.data("a"))
    assert sink.losses("a") == 0


async def test_concurrent_publishers_are_told_in_the_order_of_the_log(side: Side) -> None:
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))

    async def publish(name: int) -> None:
        for number in range(4):
            await side.publish("a", b"%d-%d" % (name, number))

    await asyncio.gather(*[publish(name) for name in range(9)])
    page = await side.page("a")
    await await_for(lambda: len(sink.entries) == 36)
    assert sink.offsets("a") == offsets(page) == list(range(1, 37))
    assert sink.data("a") == datas(page)
    for name in range(9):
        own = [data for data in datas(page) if data.startswith(b"%d-" % name)]
        assert own == [b"%d-%d" % (name, number) for number in range(4)]


def link_threads() -> int:
    return our_threads().count("sse_bridge-redis-upstream")


async def test_a_closed_upstream_is_silent(side: Side) -> None:
    disregard_threads()
    sink = Recorder()
    upstream = side.upstream(sink)
    upstream.subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    links = link_threads()
    upstream.close()
    told = len(sink.told)
    await side.publish("a", b"1")
    other = Recorder()
    side.upstream(other).subscribe(["a"])
    await await_for(lambda: other.confirmations("a"))
    await side.publish("a", b"2")
    await await_for(lambda: other.entries)
    assert len(sink.told) == told
    assert link_threads() == links, "the other's has taken its place"
