"""Appends to different channels share commands: what comes out is what each would have got alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.backends.base import Appended
from sse_bridge.backends.redis.calls import AppendCall
from sse_bridge.backends.redis.exchange import MOST_COMBINED, MOST_COMBINED_BYTES, Exchange
from sse_bridge.backends.redis.keys import Keys
from sse_bridge.backends.redis.resp import ReplyError, new_reader
from sse_bridge.backends.redis.scripts import Codec
from sse_bridge.errors import BackendError, BackendUnavailable, ChannelClosed
from sse_bridge.records.codec import decode_announcement, decode_record
from tests.backends.sides import Recorder, Side, append_each, batch, datas, published_again
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.wait import await_for

HERE = ("127.0.0.1", 6379)
NAMES = [f"c{number}" for number in range(200)]


def calls(server: RedisServer, command: str) -> int:
    """How often clients have called it."""
    with redis.Redis.from_url(server.url) as client:
        stats: dict[str, Any] = client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


async def test_many_channels_take_few_commands(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer], prefix: str
) -> None:
    server = private_redis()
    side, sink = make_side(server.url), Recorder()
    await side.publish("warm", b"1")
    names = [f"c{number}" for number in range(2 * MOST_COMBINED + 1)]
    side.upstream(sink).subscribe(names)
    await await_for(lambda: all(sink.confirmations(name) for name in names))
    before = calls(server, "evalsha"), calls(server, "eval")
    for turn in (1, 2):
        batches = [batch(name, f"{name} {turn}".encode()) for name in names]
        appended = await append_each(side, batches)
        assert [(one.last, one.recognised, one.announced) for one in appended] == [(turn, False, True)] * len(names)
        assert [one.check for one in appended] == [each.entries[0].check for each in batches]
    # two times three, and the first time two of them are not known yet: the lone one's script is
    assert (calls(server, "evalsha") - before[0], calls(server, "eval") - before[1]) == (6, 2)
    pages = {name: await side.page(name) for name in names}
    for name, page in pages.items():
        assert datas(page) == [f"{name} 1".encode(), f"{name} 2".encode()]
        assert [(entry.offset, entry.prev) for entry in page.entries] == [(1, b"0"), (2, page.entries[0].check)]
    await await_for(lambda: len(sink.entries) == 2 * len(names))
    assert {name: sink.data(name) for name in names} == {name: datas(page) for name, page in pages.items()}
    with redis.Redis.from_url(server.url) as client:
        for name in names:
            for key in ("", ":l"):
                assert client.pttl(f"{prefix}:0:{{{name}}}{key}") > 1000


async def test_announcements_and_records_are_those_of_lone_appends(side: Side, admin: redis.Redis, prefix: str) -> None:
    names = ["a", "b", "large"]
    with admin.pubsub() as pubsub:
        pubsub.subscribe(*[f"{prefix}:0:{{{name}}}" for name in names])
        for _ in names:
            assert pubsub.get_message(timeout=60)
        await side.publish("warm", b"1")
        for turn in range(2):
            appended = await append_each(side, [batch("a", b"1"), batch("b", b"2"), batch("large", b"x" * 20_000)])
            for name, one in zip(names, appended, strict=True):
                message = pubsub.get_message(ignore_subscribe_messages=True, timeout=5)
                assert message is not None
                payload = bytes(message["data"])
                stored = admin.lindex(f"{prefix}:0:{{{name}}}:l", -1)
                assert isinstance(stored, bytes)
                assert decode_record(one.epoch, stored).check == one.check
                if name == "large":
                    assert (payload, decode_announcement(payload).entries) == (b"%b %d\n" % (one.epoch, one.last), [])
                else:
                    assert payload == (stored if turn else b"%b 1 %d\n%b" % (one.epoch, len(stored), stored))


async def test_what_is_refused_to_one_says_nothing_of_the_others(side: Side, admin: redis.Redis, prefix: str) -> None:
    await side.publish("closed", b"end", close=True)
    await side.publish("text", b"0")
    before = admin.get(f"{prefix}:0:{{text}}")
    admin.set(f"{prefix}:0:{{text}}:l", "not a list")
    admin.set(f"{prefix}:0:{{foreign}}", "not ours")
    names = ["one", "closed", "text", "two", "foreign", "three"]
    one, closed, text, two, foreign, three = await append_each(side, [batch(name, b"1") for name in names])
    assert [type(one), type(two), type(three)] == [Appended] * 3
    assert type(closed) is ChannelClosed
    with pytest.raises(BackendError, match=r"'text': .*another prefix"):
        raise text
    with pytest.raises(BackendError, match=r"'foreign': .*not written by this library"):
        raise foreign
    for name in ("one", "closed", "two", "three"):
        assert len((await side.page(name)).entries) == 1
    assert admin.get(f"{prefix}:0:{{text}}") == before


async def test_one_forbidden_channel_forbids_no_other(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer], prefix: str
) -> None:
    server = private_redis()
    side = make_side(server.url)
    await append_each(side, [batch(name, b"0") for name in ("a", "b")])
    server.command("ACL", "SETUSER", "default", "resetkeys", f"~{prefix}:0:{{a}}*", f"~{prefix}:0:{{b}}*")
    a, forbidden, b = await append_each(side, [batch(name, b"1") for name in ("a", "forbidden", "b")])
    assert (a.last, b.last) == (2, 2)
    assert (a.recognised, b.recognised) == (False, False)
    with pytest.raises(BackendError, match=r"'forbidden': .*NOPERM"):
        raise forbidden


async def test_what_goes_alone_and_what_goes_together(side: Side) -> None:
    await side.publish("warm", b"1")
    appended = await append_each(
        side,
        [
            batch("plain", b"1"),
            batch("several", b"1", b"2"),
            batch("key", b"1", idempotency_key="k"),
            batch("end", b"1", close=True),
            batch("passing", b"1", ephemeral=True),
            batch("too", b"1"),
        ],
    )
    assert [one.last for one in appended] == [1, 2, 1, 1, 0, 1]
    assert (await side.page("end")).closed
    assert (await side.append(batch("key", b"1", idempotency_key="k"))).recognised


async def test_no_refusal_turns_a_channels_events_round(side: Side, admin: redis.Redis) -> None:
    sink = Recorder()
    side.upstream(sink).subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    admin.script_flush()
    await side.publish("alone", b"1")  # Redis knows the script of lone ones now, and not the other
    await append_each(side, [batch("b", b"1"), batch("a", b"1"), batch("a", b"2", ephemeral=True), batch("c", b"1")])
    await await_for(lambda: len(sink.data("a")) == 2)
    assert sink.data("a") == [b"1", b"2"]


async def test_out_of_memory_and_read_only_are_told_of_each(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer]
) -> None:
    server = private_redis()
    side = make_side(server.url, publish_timeout_seconds=2)
    pair = [batch("a", b"1"), batch("b", b"1")]
    await append_each(side, pair)
    server.command("CONFIG", "SET", "maxmemory", "1")
    for error in await append_each(side, [batch("a", b"2"), batch("b", b"2")]):
        assert type(error) is BackendError
        assert "maxmemory" in str(error)
    server.command("CONFIG", "SET", "maxmemory", "0")
    server.command("REPLICAOF", "127.0.0.1", "1")
    for error in await append_each(side, [batch("a", b"3"), batch("b", b"3")]):
        assert type(error) is BackendUnavailable
        assert "READONLY" in str(error)
    server.command("REPLICAOF", "NO", "ONE")
    await published_again(side, "c", b"1")
    assert [one.last for one in await append_each(side, [batch("a", b"4"), batch("b", b"4")])] == [2, 2]


async def test_a_lost_reply_publishes_each_once(
    make_side: Callable[..., Side], proxy: Callable[[int], Proxy], redis_server: RedisServer
) -> None:
    network = proxy(redis_server.port)
    side = make_side(network.redis_url, publish_timeout_seconds=3)
    names = [f"c{number}" for number in range(MOST_COMBINED + 8)]
    await append_each(side, [batch(name, b"1") for name in names])
    network.drop_reply(after=b"order.paid")
    appended = await append_each(side, [batch(name, b"2") for name in names])
    assert network.reply_dropped
    assert [one.last for one in appended] == [2] * len(names)
    assert any(one.recognised for one in appended)
    for name in names:
        assert datas(await side.page(name)) == [b"1", b"2"]


class TestExchange:
    """Without I/O."""

    @staticmethod
    def exchange(*appends: AppendCall, now: float = 100.0) -> tuple[Exchange, list[list[bytes]]]:
        exchange = Exchange(appends, HERE, now)
        reader = new_reader()
        reader.feed(exchange.payload)
        commands = []
        while (command := reader.gets()) is not False:
            commands.append(command)
        return exchange, commands

    @staticmethod
    def codec(*, sharded: bool = False) -> Codec:
        return Codec(Keys("p", 0), 100, 60.0, sharded)

    def test_in_a_cluster_each_is_a_command(self) -> None:
        codec = self.codec(sharded=True)
        _, commands = self.exchange(*[AppendCall(codec, batch(name, b"1")) for name in "ab"])
        assert [command[:3] for command in commands] == [[b"EVALSHA", codec.append_script.sha, b"2"]] * 2

    def test_a_lone_one_is_the_lone_script(self) -> None:
        codec = self.codec()
        _, commands = self.exchange(AppendCall(codec, batch("a", b"1")), AppendCall(codec, batch("b", b"1", b"2")))
        assert {command[1] for command in commands} == {codec.append_script.sha}

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(NAMES), st.sampled_from(["plain", "ephemeral", "two"]), st.sampled_from([1, 40_000])
            ),
            min_size=2,
            max_size=80,
        )
    )
    def test_each_goes_once_and_those_of_one_channel_in_order(self, asked: list[tuple[str, str, int]]) -> None:
        codec = self.codec()
        calls = []
        for number, (channel, kind, size) in enumerate(asked):
            data = [b"%d " % number + b"x" * size] * (2 if kind == "two" else 1)
            calls.append(AppendCall(codec, batch(channel, *data, ephemeral=kind == "ephemeral")))
        _, commands = self.exchange(*calls)
        sent: dict[bytes, list[int]] = {}
        counts = Counter(codec.keys.of(channel)[0] for channel, _, _ in asked)
        repeated = {channel for channel, count in counts.items() if count > 1}
        for command in commands:
            together = command[1] == codec.append_each_script.sha
            keys = int(command[2])
            assert keys <= 2 * MOST_COMBINED
            channels, arguments = command[3 : 3 + keys : 2], command[3 + keys :]
            datas = [argument.split(b"\n", 1)[1] for argument in arguments if b"\n" in argument]
            datas = datas if together else datas[:1]
            if together:
                assert not repeated.intersection(channels)
            assert sum(map(len, datas[:-1])) < MOST_COMBINED_BYTES
            for channel, data in zip(channels, datas, strict=True):
                sent.setdefault(channel, []).append(int(data.split()[0]))
        wanted: dict[bytes, list[int]] = {}
        for number, (channel, _, _) in enumerate(asked):
            wanted.setdefault(codec.keys.of(channel)[0], []).append(number)
        assert sent == wanted

    def test_large_ones_do_not_hold_redis_up(self) -> None:
        codec = self.codec()
        sizes = [1, MOST_COMBINED_BYTES - 1, 1, 2, MOST_COMBINED_BYTES, 1]
        _, commands = self.exchange(*[AppendCall(codec, batch(f"c{i}", b"x" * size)) for i, size in enumerate(sizes)])
        assert [int(command[2]) // 2 for command in commands] == [2, 3, 1]

    @pytest.mark.parametrize(
        ("reply", "wrong_routes"),
        [
            (ReplyError("READONLY You can't write against a read only replica."), True),
            (
                [
                    b"Epoch123 1790000000 1790000000 Check123 1",
                    ReplyError("READONLY You can't write against a read only replica. script: …"),
                ],
                True,
            ),
            (
                [
                    b"Epoch123 1790000000 1790000000 Check123 1",
                    ReplyError("@user_script: 58: -READONLY You can't write against a read only replica."),
                ],
                True,
            ),
            (ReplyError("LOADING Redis is loading the dataset in memory"), False),
            (ReplyError("BUSY Redis is busy running a script."), False),
        ],
    )
    def test_what_another_attempt_may_find_better(self, reply: Any, wrong_routes: bool) -> None:
        codec = self.codec()
        pair = [AppendCall(codec, batch(name, b"1")) for name in "ab"]
        exchange, _ = self.exchange(*pair)
        exchange.replied(reply)
        assert exchange.wrong_routes == wrong_routes
        assert [call.done for call in pair] == [isinstance(reply, list), False]
        assert pair[1].pause

    @pytest.mark.parametrize("code", ["NOPERM", "CROSSSLOT"])
    def test_what_may_be_meant_for_one(self, code: str) -> None:
        codec = self.codec()
        pair = [AppendCall(codec, batch(name, b"1")) for name in "ab"]
        exchange, _ = self.exchange(*pair)
        exchange.replied(ReplyError(f"{code} for some of the keys"))
        assert not any(call.done or call.pause for call in pair)
        _, commands = self.exchange(*pair)
        assert [(command[1], len(command)) for command in commands] == [(codec.append_script.sha, 6)] * 2
        _, commands = self.exchange(*[AppendCall(codec, batch(name, b"1")) for name in "cd"])
        assert len(commands) == (1 if code == "NOPERM" else 2)  # a cluster refuses whatever shares a command

    def test_what_is_meant_for_all(self) -> None:
        pair = [AppendCall(self.codec(), batch(name, b"1")) for name in "ab"]
        exchange, _ = self.exchange(*pair)
        exchange.replied(ReplyError("ERR something that nobody knows"))
        assert [type(call.error) for call in pair] == [BackendError] * 2

    def test_a_break_makes_each_say_its_age(self) -> None:
        codec = self.codec()
        pair = [AppendCall(codec, batch(name, b"1")) for name in "ab"]
        exchange, commands = self.exchange(*pair)
        assert [command[1] for command in commands] == [codec.append_each_script.sha]
        exchange.broke(EOFError("cut"))
        assert not exchange.wrong_routes
        _, commands = self.exchange(*pair, now=101.5)
        assert [(command[1], command[5]) for command in commands] == [(codec.append_script.sha, b"s1501")] * 2

    def test_an_unknown_script_is_sent_once_for_all(self) -> None:
        codec = self.codec()
        pair = [AppendCall(codec, batch(name, b"1")) for name in "ab"]
        exchange, _ = self.exchange(*pair)
        exchange.replied(ReplyError("NOSCRIPT No matching script."))
        assert not exchange.waiting
        assert not any(call.done or call.pause for call in pair)
        exchange, commands = self.exchange(*pair)
        assert [command[:2] for command in commands] == [[b"EVAL", codec.append_each_script.source]]
        exchange.replied(
            [b"Epoch123 1790000000 1790000000 Check123 1", ReplyError("CLOSED the end of this channel is stored")]
        )
        assert pair[0].result == Appended(b"Epoch123", 2, pair[0].batch.entries[0].check)
        assert type(pair[1].error) is ChannelClosed
