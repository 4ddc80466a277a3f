"""Publishing while Redis is away, with on_unavailable="spool": threads, coroutines, fork, greenlets, the command line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.cli import AWAY, main
from sse_bridge.errors import BackendUnavailable, ChannelClosed, InvalidInput, PublishUncertain
from tests.hub.scenarios import disregard_threads, our_threads
from tests.support.gevent_run import gevent_run
from tests.support.process import free_port
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.requires import needs_redis7
from tests.support.wait import wait_for

pytestmark = needs_redis7
# A loaded machine stands still for a second.
OPTIONS: dict[str, Any] = {"on_unavailable": "spool", "publish_timeout_seconds": 2.0}


@pytest.fixture
def network(private_redis: Callable[..., RedisServer], proxy: Callable[[int], Proxy]) -> Proxy:
    disregard_threads()
    return proxy(private_redis().port)


@pytest.fixture
def bridge(network: Proxy) -> Iterator[Bridge]:
    with Bridge(network.redis_url, **OPTIONS) as bridge:
        bridge.publish("before", 0)
        yield bridge


def flushed(bridge: Bridge) -> None:
    wait_for(lambda: bridge.spool.idle and not threads(), what="the flush")


def threads() -> list[str]:
    return [name for name in our_threads() if name == "sse_bridge-spool"]


def data(bridge: Bridge, channel: str = "a") -> list[Any]:
    return [event.data for event in bridge.history(channel, limit=10_000)]


def publish(bridge: Bridge, colour: str, *args: Any, **options: Any) -> Any:
    if colour == "threads":
        return bridge.publish(*args, **options)

    async def call() -> Any:
        try:
            return await bridge.apublish(*args, **options)
        finally:
            await bridge.backend.inner.aclose()  # type: ignore[attr-defined]

    return asyncio.run(call())


@pytest.mark.parametrize("colour", ["threads", "asyncio"])
def test_events_wait_in_order_and_are_flushed_when_the_broker_is_back(
    bridge: Bridge, network: Proxy, colour: str
) -> None:
    assert publish(bridge, colour, "a", 0) is not None
    assert threads() == []
    network.refuse()
    assert [publish(bridge, colour, "a", number) for number in range(1, 4)] == [None] * 3
    assert publish(bridge, colour, "b", 4) is None  # at once, since the server is known to be away
    assert publish(bridge, colour, "a", "typing", visibility="live_ui_only") is None
    assert (bridge.spool.queued, bridge.spool.dropped) == (4, 1)
    wait_for(lambda: threads() == ["sse_bridge-spool"], what="the flusher")
    network.accept()
    flushed(bridge)
    assert publish(bridge, colour, "a", 5) is not None
    assert data(bridge) == [0, 1, 2, 3, 5]
    assert data(bridge, "b") == [4]
    assert (bridge.spool.queued, bridge.spool.flushed, bridge.spool.dead) == (0, 4, 0)


def test_many_and_ends_are_spooled_too(bridge: Bridge, network: Proxy) -> None:
    network.refuse()
    assert bridge.publish_many([("a", 1), ("b", 2), ("a", 3)]) == [None] * 3
    assert bridge.close_channel("a") is None
    network.accept()
    flushed(bridge)
    assert data(bridge)[:2] == [1, 3]
    assert bridge.history("a")[-1].type == "stream.end"
    with pytest.raises(ChannelClosed):
        bridge.publish("a", 4)


def test_an_answer_that_never_comes_does_not_make_a_second_event(bridge: Bridge, network: Proxy) -> None:
    bridge.publish("a", 0)
    network.drop_reply(after=b"the one", refuse=True)
    assert bridge.publish("a", "the one") is None
    assert network.reply_dropped
    assert bridge.publish("a", "behind it") is None
    network.accept()
    flushed(bridge)
    assert data(bridge) == [0, "the one", "behind it"]
    assert (bridge.spool.flushed, bridge.spool.dead) == (2, 0)


def test_a_first_use_while_the_broker_is_away(proxy: Callable[[int], Proxy], redis_server: RedisServer) -> None:
    network = proxy(redis_server.port)
    network.refuse()
    with Bridge(network.redis_url, prefix="spool-first", **OPTIONS) as bridge:
        assert bridge.publish("a", 1) is None
        assert bridge.publish_many([("b", 1)]) == [None]
        network.accept()
        flushed(bridge)
        assert (data(bridge), data(bridge, "b")) == ([1], [1])


def test_refusals_are_raised_as_ever(private_redis: Callable[..., RedisServer]) -> None:
    server = private_redis()
    with Bridge(server.url, **OPTIONS) as bridge:
        bridge.publish("a", 1)
        bridge.close_channel("a")
        with pytest.raises(ChannelClosed):
            bridge.publish("a", 2)
        assert bridge.spool.idle


def test_publishing_for_ever_does_not_keep_the_spool_full(bridge: Bridge, network: Proxy) -> None:
    """While something waits what comes later goes behind it; that must not go on for ever."""
    network.refuse()
    for number in range(2000):
        bridge.publish("a", number)
    network.accept()
    count = 2000
    while not bridge.spool.idle:
        before = bridge.spool.flushed
        bridge.publish("a", count)
        count += 1
        # one event for one or more that left: in a bare loop the publisher would only fight the flush for the interpreter
        wait_for(lambda before=before: bridge.spool.flushed > before or bridge.spool.idle)  # type: ignore[misc]
    flushed(bridge)
    assert data(bridge) == list(range(count))[-len(data(bridge)) :]


def test_dead_letters_are_listed_and_sent_again(network: Proxy) -> None:
    with Bridge(network.redis_url, spool_max_events=2, **OPTIONS) as bridge:
        bridge.publish("a", 0)
        network.refuse()
        for number in range(1, 6):
            assert bridge.publish("a", number, type="count") is None
        assert [letter.reason for letter in bridge.spool.letters] == ["full"] * 3
        with pytest.raises(BackendUnavailable):
            bridge.dead_letters()
        network.accept()
        flushed(bridge)
        with Bridge(network.redis_url) as other:  # any process sees them
            letters = other.dead_letters()
            assert [(each.channel, each.reason, each.uncertain) for each in letters] == [("a", "full", False)] * 3
            assert [(event.type, event.data) for each in letters for event in each.events] == [
                ("count", number) for number in (3, 4, 5)
            ]
            assert [event.data for event in other.dead_letters(1)[0].events] == [3]
            resent = other.resend_dead_letters(2)
            assert [each.letter for each in resent] == letters[:2]
            assert asyncio.run(other.adead_letters()) == letters[2:]
            assert len(asyncio.run(other.aresend_dead_letters())) == 1
            assert (other.dead_letters(), other.resend_dead_letters()) == ([], [])
        assert data(bridge) == [0, 1, 2, 3, 4, 5]


def test_two_that_resend_at_once_publish_each_letter_once(network: Proxy) -> None:
    with Bridge(network.redis_url, spool_max_events=1, **OPTIONS) as bridge:
        bridge.publish("a", "x")
        network.refuse()
        for number in range(30):
            bridge.publish("a", number)
        network.accept()
        flushed(bridge)
        others = [threading.Thread(target=bridge.resend_dead_letters) for _ in range(4)]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join()
        assert sorted(map(str, data(bridge))) == sorted(map(str, ["x", *range(30)]))


def test_uncertain_letters_are_sent_again_only_if_asked_for(
    private_redis: Callable[..., RedisServer], proxy: Callable[[int], Proxy]
) -> None:
    server = private_redis()
    network = proxy(server.port)
    with Bridge(network.redis_url, **OPTIONS) as bridge:
        bridge.publish("a", 0)
        network.drop_reply(after=b"perhaps", refuse=True)
        assert bridge.publish("a", "perhaps") is None
        server.restart()  # and with it goes what could prove it
        network.accept()
        flushed(bridge)
        (letter,) = bridge.dead_letters()
        assert (letter.reason, letter.uncertain) == ("uncertain", True)
        ((_, error),) = bridge.resend_dead_letters()
        assert isinstance(error, PublishUncertain)
        assert bridge.dead_letters() == [letter]
        ((_, position),) = bridge.resend_dead_letters(uncertain=True)
        assert str(position) == bridge.history("a")[-1].id
        assert bridge.dead_letters() == []


def test_a_letter_of_unknown_fate_is_looked_up_before_it_is_sent_again(
    private_redis: Callable[..., RedisServer], proxy: Callable[[int], Proxy]
) -> None:
    server = private_redis()
    network = proxy(server.port)
    with Bridge(network.redis_url, spool_max_bytes=4096, **OPTIONS) as bridge:
        bridge.publish("a", 0)
        key = "sse_bridge:0:{a}"
        words = server.command("GET", key).split(b"\r\n")[1].decode().split()
        words[1] = str(int(words[1]) - 1000)  # a life that began long ago, as most have
        server.command("SET", key, " ".join(words))
        network.drop_reply(after=b"stored", refuse=True)
        large = "stored" * 1000  # there is no room for it
        assert bridge.publish("a", large) is None
        (letter,) = bridge.spool.letters
        assert (letter.reason, letter.uncertain) == ("full", True)
        network.accept()
        flushed(bridge)
        ((_, position),) = bridge.resend_dead_letters()
        assert str(position) == bridge.history("a")[-1].id
        assert data(bridge) == [0, large]
        assert bridge.dead_letters() == []


def test_what_the_log_cannot_prove_is_raised(
    private_redis: Callable[..., RedisServer], proxy: Callable[[int], Proxy]
) -> None:
    """The retry reached the broker, so there is nothing to wait for."""
    server = private_redis()
    network = proxy(server.port)
    with Bridge(network.redis_url, **{**OPTIONS, "publish_timeout_seconds": 20}) as bridge:
        bridge.publish("a", 0)
        network.drop_reply(after=b"perhaps", refuse=True)
        raised: list[BaseException] = []

        def publish() -> None:
            try:
                bridge.publish("a", "perhaps")
            except PublishUncertain as error:
                raised.append(error)

        thread = threading.Thread(target=publish)
        thread.start()
        wait_for(lambda: network.reply_dropped, what="a lost reply")
        server.restart()
        network.accept()
        thread.join()
        assert raised
        assert bridge.spool.idle


def test_what_a_log_handler_publishes_about_the_spool_finds_it_free(bridge: Bridge, network: Proxy) -> None:
    class Publishing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            bridge.publish("logs", record.getMessage())

    handler = Publishing()
    logger = logging.getLogger("sse_bridge.spool")
    logger.addHandler(handler)
    try:
        network.refuse()
        bridge.publish("a", 1)
        wait_for(lambda: len(threads()) == 1, what="the flusher")
        network.accept()
        flushed(bridge)
        wait_for(lambda: len(data(bridge, "logs")) == 2, what="both messages")
    finally:
        logger.removeHandler(handler)
    assert data(bridge) == [1]


def test_closing_says_what_is_lost(network: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    bridge = Bridge(network.redis_url, **OPTIONS)
    bridge.publish("a", 0)
    network.refuse()
    bridge.publish("a", 1)
    with caplog.at_level(logging.ERROR):
        bridge.close()
    assert "1 spooled events are lost" in caplog.text
    wait_for(lambda: not threads(), what="the thread to end")


def test_closing_waits_for_the_flush(network: Proxy) -> None:
    bridge = Bridge(network.redis_url, **{**OPTIONS, "publish_timeout_seconds": 10})
    bridge.publish("a", 0)
    # closing waits so long for the broker; after a failed attempt it rests for 0.5 s
    with Bridge(network.redis_url, **{**OPTIONS, "publish_timeout_seconds": 3}) as other:
        other.publish("a", 1)
        network.refuse()
        for number in range(500):
            other.publish("a", number)
        network.accept()
    assert data(bridge) == [0, 1, *range(500)]
    bridge.close()


def test_a_child_does_not_flush_its_parents_spool(network: Proxy) -> None:
    with Bridge(network.redis_url, **OPTIONS) as bridge:
        bridge.publish("a", 0)
        network.refuse()
        bridge.publish("a", 1)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                bridge.publish("a", 2)
                code = 0 if bridge.spool.queued == 1 else 2
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        network.accept()
        flushed(bridge)
        assert data(bridge) == [0, 1]


def test_greenlets(redis_server: RedisServer) -> None:
    gevent_run(
        """
        import sys, gevent
        from sse_bridge import Bridge
        from gevent.server import StreamServer
        from tests.support.wait import wait_for
        port = int(sys.argv[1])
        away = Bridge(f"redis://127.0.0.1:{sys.argv[2]}/0", prefix="spool-greenlets", on_unavailable="spool",
                      publish_timeout_seconds=0.3)
        jobs = [gevent.spawn(away.publish, "a", number) for number in range(20)]
        gevent.joinall(jobs, timeout=60)
        assert [job.value for job in jobs] == [None] * 20, [job.exception for job in jobs]
        assert away.spool.queued == 20

        def forward(client, address):
            server = gevent.socket.create_connection(("127.0.0.1", port))
            def pump(source, target):
                while data := source.recv(65536):
                    target.sendall(data)
            gevent.joinall([gevent.spawn(pump, client, server), gevent.spawn(pump, server, client)], count=1)

        listener = StreamServer(("127.0.0.1", int(sys.argv[2])), forward)
        listener.start()
        wait_for(lambda: away.spool.idle)
        with Bridge(f"redis://127.0.0.1:{port}/0", prefix="spool-greenlets") as bridge:
            assert sorted(event.data for event in bridge.history("a")) == list(range(20))
        away.close()
        listener.stop()
        """,
        str(redis_server.port),
        str(free_port()),
    )


def test_the_command_line(network: Proxy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_BRIDGE_URL", network.redis_url)
    monkeypatch.setenv("SSE_BRIDGE_ON_UNAVAILABLE", "spool")  # as the application has it; a command does not spool
    monkeypatch.setenv("SSE_BRIDGE_PUBLISH_TIMEOUT_SECONDS", "0.5")
    with Bridge(spool_max_events=1) as bridge:
        bridge.publish("a", 0)
        network.refuse()
        for number in range(1, 4):
            bridge.publish("a", number)
        assert main(["dead-letters", "list"]) == AWAY
        assert main(["publish", "a", "1"]) == AWAY
        network.accept()
        flushed(bridge)
        capsys.readouterr()
        assert main(["dead-letters", "list"]) == 0
        listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(each["channel"], each["reason"], each["events"][0]["data"]) for each in listed] == [
            ("a", "full", 2),
            ("a", "full", 3),
        ]
        assert main(["dead-letters", "resend"]) == 0
        ids = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
        assert ids == [event.id for event in bridge.history("a")[-2:]]
        assert main(["dead-letters", "list"]) == 0
        assert capsys.readouterr().out == ""


def test_a_backend_that_is_never_away() -> None:
    for options in ({}, OPTIONS):
        with Bridge("memory://", **options) as bridge:
            assert bridge.publish("a", 1) is not None
            assert bridge.spool.idle
            assert (bridge.dead_letters(), bridge.resend_dead_letters()) == ([], [])
            with pytest.raises(InvalidInput, match="limit"):
                bridge.dead_letters(0)
