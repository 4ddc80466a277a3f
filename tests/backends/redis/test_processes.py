"""One backend object in several processes, loops, threads and greenlets."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from sse_bridge.backends.redis import RedisBackend
from sse_bridge.backends.redis.threads import MAX_CONNECTIONS
from sse_bridge.config import Settings
from sse_bridge.errors import BackendError, ChannelClosed, PublishUncertain
from sse_bridge.records.continuity import ReadRequest
from tests.backends.sides import Recorder, batch, datas, offsets
from tests.support.gevent_run import gevent_run
from tests.support.process import child_environment
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

FORK = """
import os, sys
from sse_bridge.backends.redis import RedisBackend
from sse_bridge.config import Settings
from sse_bridge.errors import BackendError
from sse_bridge.records.continuity import ReadRequest
from tests.backends.sides import Recorder, batch
import asyncio
backend = RedisBackend(Settings(url=sys.argv[1], prefix=sys.argv[2]))
backend.append(batch("a", b"parent"))
sink = Recorder()
upstream = backend.upstream(sink)
upstream.subscribe(["a"])
children = []
for name in range(3):
    pid = os.fork()
    if pid == 0:
        try:
            try:
                upstream.subscribe(["b"])
            except BackendError:
                pass
            else:
                os._exit(3)
            upstream.close()
            for number in range(20):
                backend.append(batch("a", b"%d-%d" % (name, number)))
            asyncio.run(backend.aappend(batch("a", b"%d-loop" % name)))
            own = Recorder()
            again = backend.upstream(own)
            again.subscribe(["b"])
            while not own.confirmations("b"):
                pass
            again.close()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(4)
    children.append(pid)
while not sink.confirmations("a"):  # else all may have been published before it hears anything
    pass
for number in range(20):
    backend.append(batch("a", b"p-%d" % number))
for pid in children:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, code
page = backend.read([ReadRequest("a")])[0]
assert page.top == 1 + 3 * 21 + 20, page.top
while len(sink.entries) < 20 or sink.entries[-1][1].offset < page.top:
    pass
assert [e.offset for _, e in sink.entries] == list(range(sink.entries[0][1].offset, page.top + 1))
assert sink.losses("a") == 0
upstream.close()
backend.close()
print("whole")
"""


def test_a_fork_takes_nothing_along(redis_url: str, prefix: str) -> None:
    command = [sys.executable, "-X", "dev", "-c", FORK, redis_url, prefix]
    run = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "whole", run.stdout + run.stderr
    assert "ResourceWarning" not in run.stderr


def test_threads_share_a_bounded_number_of_connections(private_redis: Callable[..., RedisServer], prefix: str) -> None:
    server = private_redis()
    backend = RedisBackend(Settings(url=server.url, prefix=prefix))
    threads = MAX_CONNECTIONS + 40
    barrier = threading.Barrier(threads)

    def publish(name: int) -> None:
        barrier.wait()
        for number in range(5):
            backend.append(batch("a", b"%d-%d" % (name, number)))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(publish, range(threads)))
    page = backend.read([ReadRequest("a", limit=2000)])[0]
    assert offsets(page) == list(range(1, threads * 5 + 1))
    assert len(set(datas(page))) == threads * 5
    assert server.command("CLIENT", "LIST").count(b"cmd=evalsha") <= MAX_CONNECTIONS
    backend.close()
    wait_for(lambda: server.command("CLIENT", "LIST").count(b"cmd=evalsha") == 0)
    backend.append(batch("a", b"again"))
    backend.close()


def test_two_loops_in_two_threads(redis_url: str, prefix: str) -> None:
    backend = RedisBackend(Settings(url=redis_url, prefix=prefix))

    async def publish(name: int) -> None:
        await asyncio.gather(*[backend.aappend(batch("a", b"%d-%d" % (name, number))) for number in range(50)])
        await backend.aclose()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: asyncio.run(publish(name)), range(2)))
    page = backend.read([ReadRequest("a")])[0]
    assert offsets(page) == list(range(1, 101))
    backend.close()


LOOPS = """
import asyncio, sys, time
import redis
from sse_bridge.backends.redis import RedisBackend
from sse_bridge.config import Settings
from tests.backends.sides import batch
admin = redis.Redis.from_url(sys.argv[1])
backend = RedisBackend(Settings(url=sys.argv[1], prefix=sys.argv[2]))
for number in range(20):  # as async_to_sync does: a loop per call, and nobody closes anything
    position = asyncio.run(backend.aappend(batch("a", b"x")))
deadline = time.monotonic() + 10
while len([c for c in admin.client_list() if c["cmd"] == "evalsha"]) > 1 and time.monotonic() < deadline:
    time.sleep(0.01)
print(position.last, len([c for c in admin.client_list() if c["cmd"] == "evalsha"]))
"""


def test_loops_that_closed_leave_no_connections(private_redis: Callable[..., RedisServer], prefix: str) -> None:
    command = [sys.executable, "-c", LOOPS, private_redis().url, prefix]
    run = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["20", "1"], run.stdout + run.stderr


async def test_appends_of_a_loop_keep_their_order_and_share_round_trips(
    redis_url: str, prefix: str, admin: redis.Redis
) -> None:
    backend = RedisBackend(Settings(url=redis_url, prefix=prefix))
    await backend.aappend(batch("a", b"first"))
    before = admin.info("commandstats")["cmdstat_evalsha"]["calls"]
    tasks = []
    for number in range(200):
        data = [b"%d" % number] if number % 3 else [b"%d" % number, b"and"]
        options = {"idempotency_key": "k"} if number == 100 else {}
        if number == 150:
            admin.script_flush()
        tasks.append(asyncio.ensure_future(backend.aappend(batch("a", *data, **options))))
    results = await asyncio.gather(*tasks)
    calls = admin.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert calls <= 12
    page = (await backend.aread([ReadRequest("a", limit=1000)]))[0]
    assert [data for data in datas(page) if data not in (b"first", b"and")] == [b"%d" % number for number in range(200)]
    by_offset = {entry.offset: entry for entry in page.entries}
    for number, result in enumerate(results):
        assert by_offset[result.last].check == result.check
        assert (
            by_offset[result.last].data == (b"%d" % number if number % 3 or number == 100 else b"and") or number == 99
        )
    await backend.aclose()


async def test_an_end_among_concurrent_appends(redis_url: str, prefix: str) -> None:
    backend = RedisBackend(Settings(url=redis_url, prefix=prefix))
    batches = [batch("a", b"1"), batch("a", b"end", close=True), batch("a", b"2"), batch("b", b"3")]
    results = await asyncio.gather(*[backend.aappend(one) for one in batches], return_exceptions=True)
    assert [getattr(result, "last", type(result).__name__) for result in results] == [1, 2, "ChannelClosed", 1]
    await backend.aclose()


async def test_a_loop_that_is_shut_down_while_publishing(redis_url: str, prefix: str) -> None:
    backend = RedisBackend(Settings(url=redis_url, prefix=prefix))
    await backend.aappend(batch("a", b"0"))
    flying = asyncio.ensure_future(backend.aappend(batch("a", b"1")))
    await asyncio.sleep(0)
    (work,) = [task for task in asyncio.all_tasks() if task.get_name() == "sse_bridge-publisher"]
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(backend.aappend(batch("a", b"2")))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(PublishUncertain):
        await flying
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await backend.aappend(batch("a", b"3"))).last in (2, 3)
    await backend.aclose()


async def test_a_bug_while_publishing_keeps_nobody_waiting(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backend = RedisBackend(Settings(url=redis_url, prefix=prefix))
    await backend.aappend(batch("a", b"0"))
    with monkeypatch.context() as patch:
        patch.setattr(backend._codec, "appended", lambda *_: 1 / 0)
        results = await asyncio.gather(
            *[backend.aappend(batch("a", b"%d" % number, idempotency_key=str(number))) for number in range(3)],
            return_exceptions=True,
        )
    assert [type(result) for result in results] == [PublishUncertain] * 3
    assert "ZeroDivisionError" in caplog.text
    assert (await backend.aappend(batch("a", b"4"))).last == 5
    await backend.aclose()


async def test_an_append_that_was_not_sent_is_taken_back(redis_url: str, prefix: str) -> None:
    backend = RedisBackend(Settings(url=redis_url, prefix=prefix))
    await backend.aappend(batch("a", b"0"))
    tasks = [asyncio.ensure_future(backend.aappend(batch("a", b"%d" % number))) for number in range(1, 4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert datas((await backend.aread([ReadRequest("a")]))[0]) == [b"0", b"1", b"3"]
    await backend.aclose()


def test_appends_to_many_channels_in_one_trip(redis_url: str, prefix: str, admin: redis.Redis) -> None:
    backend = RedisBackend(Settings(url=redis_url, prefix=prefix))
    backend.append(batch("c7", b"end", close=True))
    admin.script_flush()
    results = backend.append_many([batch(f"c{number}", b"%d" % number) for number in range(100)])
    assert isinstance(results.pop(7), ChannelClosed)
    assert [getattr(result, "last", None) for result in results] == [1] * 99
    backend.close()


def test_no_loop_and_no_thread_for_sync_publishing(redis_url: str, prefix: str) -> None:
    backend = RedisBackend(Settings(url=redis_url, prefix=prefix))
    before = set(threading.enumerate())
    for number in range(200):
        backend.append(batch("a", b"%d" % number))
    assert set(threading.enumerate()) <= before  # those of other tests may end meanwhile
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    backend.close()


def test_greenlets(redis_url: str, prefix: str) -> None:
    output = gevent_run(
        """
        import sys, threading, gevent
        from sse_bridge.backends.redis import RedisBackend
        from sse_bridge.config import Settings
        from sse_bridge.records.continuity import ReadRequest
        from tests.backends.sides import Recorder, batch
        backend = RedisBackend(Settings(url=sys.argv[1], prefix=sys.argv[2], link_timeout_seconds=2))
        sink = Recorder()
        upstream = backend.upstream(sink)
        upstream.subscribe(["a"])
        while not sink.confirmations("a"):
            gevent.sleep(0.01)
        pings, tick = [], upstream._link.tick
        def ticking(now):
            sent = tick(now)
            pings.extend([now] if sent else [])
            return sent
        upstream._link.tick = ticking
        def publish(name):
            for number in range(5):
                backend.append(batch("a", b"%d-%d" % (name, number)))
        jobs = [gevent.spawn(publish, name) for name in range(200)]
        killed = [gevent.spawn(publish, 1000 + name) for name in range(20)]
        gevent.sleep(0.005)
        gevent.killall(killed)
        gevent.joinall(jobs, raise_error=True)
        top = backend.read([ReadRequest("a", limit=0)])[0].top
        while len(sink.entries) < top:
            gevent.sleep(0.01)
        assert [e.offset for _, e in sink.entries] == list(range(1, top + 1))
        before = len(pings)
        while len(pings) < before + 2:  # the first one was answered then
            gevent.sleep(0.01)
        assert sink.told.count(("confirmed", "a")) == 1
        data = [d for d in sink.data("a") if not d.startswith(b"10")]
        upstream.close()
        backend.close()
        assert threading.active_count() == 1, threading.enumerate()
        print("published", len({e.data for _, e in sink.entries if int(e.data.split(b"-")[0]) < 1000}))
        """,
        redis_url,
        prefix,
    )
    assert output.strip() == "published 1000"


def test_an_upstream_says_that_it_belongs_to_another_process(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = RedisBackend(Settings(url=redis_url, prefix=prefix)).upstream(Recorder())
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    with pytest.raises(BackendError, match=str(pid)):
        upstream.subscribe(["a"])
    monkeypatch.undo()
    upstream.close()
