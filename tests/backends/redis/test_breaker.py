"""A server that is away costs one deadline, not one each; decided without a server, and then seen with one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.backends.redis.breaker import PAUSE_SECONDS, PROBE_SECONDS, Breakers
from sse_bridge.errors import BackendError, BackendUnavailable, PublishUncertain
from tests.backends.sides import COLOURS, Side, append_each, batch, datas, published_again
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.wait import astays

HERE = ("127.0.0.1", 1)
THERE = ("127.0.0.1", 2)


def test_one_call_waits_in_vain_and_then_nobody() -> None:
    breakers = Breakers()
    assert breakers.admit(HERE, 0, 5) == "go"
    breakers.in_vain(HERE, 0, 5, "no answer")
    assert breakers.admit(HERE, 5, 10) == "stay"
    assert "5 s" in str(breakers.reason(HERE, 5))
    assert breakers.admit(THERE, 5, 10) == "go"
    assert breakers.admit(HERE, 5.3, 10.3) == "probe"
    assert breakers.admit(HERE, 5.3, 10.3) == "stay", "one probe at a time"
    breakers.answered(HERE, 5.3)
    assert not breakers.open
    assert breakers.reason(HERE, 5.3) is None


def test_a_probe_in_vain_lengthens_the_pause() -> None:
    breakers, now = Breakers(), 0.0
    breakers.in_vain(HERE, now, now, "no answer")
    pauses = []
    for _ in range(8):
        until = breakers.open[HERE].until
        pauses.append(until - now)
        now = until
        assert breakers.admit(HERE, now, now + 5) == "probe"
        now += PROBE_SECONDS
        breakers.in_vain(HERE, now - PROBE_SECONDS, now, "no answer")
    low, high = PAUSE_SECONDS
    assert low / 2 <= pauses[0] <= low
    assert high / 2 <= pauses[-1] <= high


def test_a_probe_that_is_given_up_makes_room_and_so_does_one_that_is_never_heard_of_again() -> None:
    breakers = Breakers()
    breakers.in_vain(HERE, 0, 0, "no answer")
    assert breakers.admit(HERE, 10, 15) == "probe"
    breakers.give_up(HERE)
    assert breakers.admit(HERE, 10, 15) == "probe"
    assert breakers.admit(HERE, 15 + PROBE_SECONDS, 20) == "probe"


def test_who_alone_had_no_answer_has_had_bad_luck() -> None:
    breakers = Breakers()
    breakers.answered(HERE, 3)
    breakers.in_vain(HERE, 2, 7, "no answer")
    assert not breakers.open
    breakers.in_vain(HERE, 4, 9, "no answer")
    assert breakers.open


@given(st.lists(st.tuples(st.sampled_from(["call", "answer", "vain", "lost", "wait"]), st.integers(0, 30))))
def test_it_never_stays_open_and_never_has_two_probes(steps: list[tuple[str, int]]) -> None:
    breakers, now = Breakers(), 0.0
    probes: list[float] = []  # their deadlines
    for step, n in steps:
        if step == "wait":
            now += n / 5
        elif step == "call":
            if breakers.admit(HERE, now, now + 5) == "probe":
                assert all(deadline + PROBE_SECONDS <= now for deadline in probes)
                probes = [now + 5]
        elif step == "answer":
            breakers.answered(HERE, now)
            probes = []
            assert breakers.admit(HERE, now, now + 5) == "go"
        elif step == "vain":
            breakers.in_vain(HERE, now - n, now, "no answer")
            probes = [] if HERE in breakers.open and breakers.open[HERE].probing_until == 0 else probes
        elif probes:
            breakers.give_up(HERE)
            probes = []
    now += 5 + PROBE_SECONDS + PAUSE_SECONDS[1]
    assert breakers.admit(HERE, now, now + 5) in ("go", "probe")


async def failed(side: Side, channel: str, began: float) -> tuple[BaseException, float]:
    with pytest.raises(BackendError) as told:
        await side.publish(channel, b"x")
    return told.value, time.monotonic() - began


@pytest.fixture
def network(proxy: Callable[[int], Proxy], redis_server: RedisServer) -> Proxy:
    return proxy(redis_server.port)


async def test_only_the_first_waits_for_its_deadline(make_side: Callable[..., Side], network: Proxy) -> None:
    side = make_side(network.redis_url, publish_timeout_seconds=1.5)
    await side.publish("a", b"1")
    network.refuse()
    error, seconds = await failed(side, "orders:42", time.monotonic())
    assert isinstance(error, BackendUnavailable)
    assert str(error).startswith("publishing to 'orders:42': Redis could not be reached")
    assert seconds > 0.9
    began, times = time.monotonic(), []
    while time.monotonic() < began + 1:
        error, seconds = await failed(side, "b", time.monotonic())
        assert isinstance(error, BackendUnavailable), "nothing was sent to a server that is away"
        times.append(seconds)
        await asyncio.sleep(0)
    assert sorted(times)[len(times) // 2] < 0.7, "half of them did not wait for the deadline of 1.5 s"
    with pytest.raises(BackendUnavailable, match="reading 'a'"):
        await side.page("a")
    network.accept()
    await published_again(side, "b", b"back")
    assert datas(await side.page("a")) == [b"1"]


async def test_what_a_black_hole_has_is_uncertain_and_what_comes_later_is_not(
    make_side: Callable[..., Side], network: Proxy
) -> None:
    side = make_side(network.redis_url, publish_timeout_seconds=1.2)
    await side.publish("a", b"1")
    network.hold()
    error, _ = await failed(side, "a", time.monotonic())
    assert isinstance(error, PublishUncertain)
    assert error.unknown_since is not None
    times: list[float] = []
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        error, seconds = await failed(side, "a", time.monotonic())
        assert isinstance(error, BackendUnavailable), "a probe asks for a PONG before it sends an event"
        times.append(seconds)
        await asyncio.sleep(0)
    assert sorted(times)[len(times) // 2] < 0.6, "half of them did not wait for the deadline of 1.2 s"
    network.flow()
    await published_again(side, "b", b"back")
    assert datas(await side.page("a"))[0] == b"1"
    assert datas(await side.page("a")) in ([b"1"], [b"1", b"x"]), "none of the later ones was sent"


async def test_those_that_wait_when_the_first_deadline_comes_wait_no_longer(
    make_side: Callable[..., Side], network: Proxy
) -> None:
    side = make_side(network.redis_url, publish_timeout_seconds=4)
    await append_each(side, [batch(name, b"1") for name in "abcd"])
    network.refuse()
    began = time.monotonic()
    first = asyncio.ensure_future(failed(side, "a", began))
    await astays(lambda: not first.done(), 2.5)
    others = await asyncio.gather(*[failed(side, name, began) for name in "bcd"])
    _, seconds = await first
    assert max(each for _, each in others) - seconds < 2, "by their own deadlines they waited 2.5 s longer"


async def test_both_colours_share_what_one_of_them_found_out(make_side: Callable[..., Side], network: Proxy) -> None:
    side = make_side(network.redis_url, publish_timeout_seconds=8)
    other = Side(side.backend, next(colour for colour in COLOURS if colour != side.colour))
    await side.publish("a", b"1")
    await other.publish("a", b"2")
    network.refuse()
    await failed(side, "a", time.monotonic())
    _, seconds = await failed(other, "a", time.monotonic())
    assert seconds < 7, "the time of a probe is a second"


async def test_a_server_that_takes_no_writes_is_away_for_those_alone(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer]
) -> None:
    """Readers go on, and their answers do not make every publish wait for its deadline again."""
    server = private_redis()
    side = make_side(server.url, publish_timeout_seconds=8)
    await side.publish("a", b"1")
    server.command("REPLICAOF", "127.0.0.1", "1")
    waiting = asyncio.ensure_future(failed(side, "a", time.monotonic()))
    while not waiting.done():
        assert datas(await side.page("a")) == [b"1"]
        await asyncio.sleep(0)
    error, seconds = await waiting
    assert "READONLY" in str(error)
    assert seconds > 6.4
    until = time.monotonic() + 1
    while time.monotonic() < until:  # some of them are probes
        error, seconds = await failed(side, "a", time.monotonic())
        assert "READONLY" in str(error)
        assert seconds < 6
        assert datas(await side.page("a")) == [b"1"]
    server.command("REPLICAOF", "NO", "ONE")
    await published_again(side, "b", b"back")
    assert not side.backend._client.breakers.open
