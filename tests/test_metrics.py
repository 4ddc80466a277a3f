"""What a scrape says, over both backends and both colours, and what it costs a bridge that nobody scrapes: nothing."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from sse_bridge import Bridge
from sse_bridge.errors import ChannelClosed, ConfigurationError, PublishBlocked
from sse_bridge.metrics import BridgeCollector, register
from sse_bridge.publishing.observed import observe, stop_observing
from tests.bridge import conftest as bridge_fixtures
from tests.bridge.both import Both
from tests.support.http_stream import HTTPStream
from tests.support.process import ROOT
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.servers import serve
from tests.support.wait import await_for, wait_for

both = bridge_fixtures.both

BLOCKS = dict(
    re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", (ROOT / "docs/metrics.md").read_text(), re.DOTALL)
)


class Scrape:
    """A bridge in a registry of its own, and one sample of it by name."""

    def __init__(self, bridge: Bridge, **options: str) -> None:
        self.registry = CollectorRegistry()
        self.collector: BridgeCollector = register(bridge, self.registry, **options)

    def __call__(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(f"sse_bridge_{name}", labels)
        assert value is not None, f"no sample {name} {labels}"
        return value


@pytest.fixture
def scrape(both: Both) -> Scrape:
    return Scrape(both.bridge)


def test_publishes_are_counted_and_timed(both: Both, scrape: Scrape) -> None:
    both.publish("a", 1)
    both.publish("a", 2, store=False)
    both.publish("a", 3, idempotency_key="k")
    both.publish("a", 3, idempotency_key="k")
    both.publish_many([("a", 4), ("a", 5), ("b", 6)])
    both.close_channel("b")
    assert scrape("events_published_total", kind="stored") == 6
    assert scrape("events_published_total", kind="ephemeral") == 1
    calls = 7 if both.asynchronous else 6
    assert scrape("event_publish_duration_seconds_count") == calls
    assert 0 < scrape("event_publish_duration_seconds_sum") < 60


def test_failures_are_counted_by_error(both: Both, scrape: Scrape, monkeypatch: pytest.MonkeyPatch) -> None:
    both.close_channel("a")
    with pytest.raises(ChannelClosed):
        both.publish("a", 1)
    both.publish_many([("a", 1), ("b", 1)])
    assert scrape("publish_failures_total", error="ChannelClosed") == 2
    assert scrape("events_published_total", kind="stored") == 2, "the end and the one of b"

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    backend = both.bridge.backend
    monkeypatch.setattr(backend, "aappend" if both.asynchronous else "append", broken)
    with pytest.raises(ZeroDivisionError):
        both.publish("c", 1)
    monkeypatch.setattr(backend, "append_many", broken)
    with pytest.raises(ZeroDivisionError):
        both.publish_many([("c", 1)])
    assert scrape("publish_failures_total", error="other") == 2


def test_readers_and_their_depth(both: Both, scrape: Scrape) -> None:
    assert (scrape("active_readers"), scrape("queue_depth")) == (0, 0)
    slow, other = both.subscribe("a"), both.subscribe(["a", "b"])
    for number in range(7):
        both.publish("a", number)

    def behind() -> bool:
        if both.asynchronous:
            both.run(asyncio.sleep(0))  # the loop runs while it is asked only
        return scrape("queue_depth") == 7

    wait_for(behind)
    assert scrape("active_readers") == 2
    for stream in (slow, other):
        while (event := stream.next()) is not None and event.data != 6:
            pass
    assert scrape("queue_depth") == 0
    slow.close()
    other.close()
    assert scrape("active_readers") == 0


def test_skipped_entries_stay_counted_when_the_reader_left(both: Both, scrape: Scrape) -> None:
    reader = both.subscribe("a", policy="latest_only")
    both.publish("a", 0)
    assert reader.next().data == 0
    for number in range(1, 6):
        both.publish("a", number)

    def arrived() -> bool:
        if both.asynchronous:
            both.run(asyncio.sleep(0))
        return scrape("queue_depth") == 5

    wait_for(arrived)
    assert reader.next().type == "stream.gap"
    assert scrape("events_dropped_total", reason="slow") == 4
    reader.close()
    del reader
    both.close()
    assert scrape("events_dropped_total", reason="slow") == 4


def test_ephemeral_events_that_come_out_of_order_are_counted() -> None:
    with Bridge() as bridge, bridge.subscribe("a") as stream:
        scrape = Scrape(bridge)
        assert stream.wait_ready(60)
        bridge.publish("a", 0)
        feed = bridge.thread_hub().state.feeds["a"]
        head = feed.window.head  # type: ignore[union-attr]
        bridge.publish("a", 1, store=False)
        entry = stream._reader.follower.cursors[0].feed.window.items.tail[-1]  # type: ignore[union-attr]
        assert (entry.offset, entry.stored) == (head.offset, False)
        bridge.publish("a", 2)
        with bridge.thread_hub().lock:  # the broker's link repeats an old message
            feed.announce(type("Old", (), {"epoch": entry.epoch, "top": entry.offset, "entries": [entry]})())
        assert scrape("events_dropped_total", reason="ephemeral") == 1


def test_a_lost_link_is_counted(private_redis: Callable[..., RedisServer], proxy: Callable[[int], Proxy]) -> None:
    server = private_redis()
    with Bridge(server.url) as bridge, bridge.subscribe("a") as stream:
        scrape = Scrape(bridge)
        assert stream.wait_ready(60)
        assert scrape("broker_link_lost_total") == 0
        server.kill()
        server.start()
        wait_for(lambda: scrape("broker_link_lost_total") == 1)


@pytest.mark.needs("redis7")
@pytest.mark.parametrize("on_unavailable", ["raise", "spool"])
def test_poisoned_records_are_counted(redis_url: str, on_unavailable: str) -> None:
    prefix = f"metrics{os.urandom(4).hex()}"
    with (
        Bridge(redis_url, prefix=prefix, on_unavailable=on_unavailable) as bridge,
        redis.Redis.from_url(redis_url) as admin,
    ):
        scrape = Scrape(bridge)
        for number in range(4):
            bridge.publish("a", number)
        assert len(bridge.history("a")) == 4
        assert scrape("foreign_records_total") == 0
        for index in (1, 2):
            admin.lset(f"{prefix}:0:{{a}}:l", index, b"poison")
        assert [event.data for event in bridge.history("a") if event.type == "message"] == [0, 3]
        assert scrape("foreign_records_total") == 1, "once per page, however many there are"
        with bridge.subscribe("a", after="earliest") as stream:
            assert [stream.next(60).type for _ in range(3)] == ["message", "stream.gap", "message"]  # type: ignore[union-attr]
        assert scrape("foreign_records_total") > 1


def test_what_is_spooled_is_told_apart(private_redis: Callable[..., RedisServer]) -> None:
    server = private_redis()
    with Bridge(server.url, on_unavailable="spool", publish_timeout_seconds=2) as bridge:
        scrape = Scrape(bridge)
        bridge.publish("a", 1)
        server.kill()
        assert bridge.publish("a", 2) is None
        bridge.publish("a", 3, store=False)
        assert [scrape("events_published_total", kind=kind) for kind in ("stored", "spooled", "ephemeral")] == [1, 1, 0]
        assert (scrape("spool_queued"), scrape("events_dropped_total", reason="spool")) == (1, 1)
        server.start()
        wait_for(lambda: scrape("events_flushed_total") == 1)
        assert scrape("spool_queued") == 0


async def test_hubs_of_all_loops_are_summed_and_scraped_from_any_thread() -> None:
    async with Bridge() as bridge:
        scrape = Scrape(bridge)
        here = bridge.asubscribe("a")
        assert await here.wait_ready(60)
        go, there = threading.Event(), asyncio.get_running_loop()
        ready: asyncio.Future[None] = there.create_future()

        async def elsewhere() -> None:
            async with bridge.asubscribe("a") as stream:
                assert await stream.wait_ready(60)
                there.call_soon_threadsafe(ready.set_result, None)
                await asyncio.to_thread(go.wait)

        def on_threads() -> None:
            with bridge.subscribe("a") as stream:
                assert stream.wait_ready(60)
                asyncio.run(elsewhere())

        worker = asyncio.ensure_future(asyncio.to_thread(on_threads))
        await asyncio.wait_for(ready, 60)
        assert scrape("active_readers") == 3
        assert await asyncio.to_thread(scrape, "active_readers") == 3
        go.set()
        await worker
        await await_for(lambda: scrape("active_readers") == 1)


def test_a_bridge_that_is_not_registered_pays_nothing() -> None:
    with Bridge() as bridge:
        first, second = Scrape(bridge), Scrape(bridge)
        assert bridge.appends is not bridge.backend
        bridge.publish("a", 1)
        first.collector.unregister()
        first.collector.unregister()
        bridge.publish("a", 2)
        assert second("events_published_total", kind="stored") == 2
        second.collector.unregister()
        assert bridge.appends is bridge.backend
        assert list(second.registry.collect()) == []


def test_observers_leave_in_any_order() -> None:
    with Bridge() as bridge:
        layers = [observe(bridge, lambda *_: None) for _ in range(3)]
        for layer in (layers[1], layers[2], layers[0], layers[1]):
            stop_observing(bridge, layer)
        assert bridge.appends is bridge.backend


def test_names_are_taken_once() -> None:
    with Bridge(metrics_prefix="shop_") as bridge:
        registry = CollectorRegistry()
        collector = register(bridge, registry)
        assert b"shop_active_streams 0.0" in generate_latest(registry)
        observed = bridge.appends
        with pytest.raises(ConfigurationError, match="shop_"):
            register(bridge, registry)
        assert bridge.appends is observed, "the second one left no observer behind"
        register(bridge, registry, prefix="other_").unregister()
        collector.unregister()
        assert bridge.appends is bridge.backend


def test_no_label_holds_a_channel() -> None:
    with Bridge() as bridge:
        scrape = Scrape(bridge)
        with bridge.subscribe("secret-channel"):
            bridge.publish("secret-channel", 1, type="secret-type")
            text = generate_latest(scrape.registry).decode()
    assert "secret" not in text
    labels = set(re.findall(r'(\w+)="', text))
    assert labels == {"kind", "le", "reason"}


def test_policy_block_works_through_the_observer() -> None:
    with Bridge(block_timeout_seconds=0.1) as bridge:
        Scrape(bridge)
        with bridge.subscribe("a", policy="block", queue_size=1) as stream:
            assert stream.wait_ready(60)
            bridge.publish("a", 1)
            with pytest.raises(PublishBlocked):
                bridge.publish("a", 2)


def test_publishing_is_summed_over_workers_in_multiprocess_mode(tmp_path: Path) -> None:
    worker = (
        "from prometheus_client import CollectorRegistry; from sse_bridge import Bridge\n"
        "from sse_bridge.metrics import register\n"
        "bridge = Bridge(); register(bridge); bridge.publish('a', 1); bridge.publish('a', 2)\n"
    )
    whole = (
        "from prometheus_client import CollectorRegistry, generate_latest\n"
        "from prometheus_client.multiprocess import MultiProcessCollector\n"
        "registry = CollectorRegistry(); MultiProcessCollector(registry); print(generate_latest(registry).decode())\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for program in (worker, worker, whole):
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
    assert 'sse_bridge_events_published_total{kind="stored"} 4.0' in done.stdout
    assert "sse_bridge_event_publish_duration_seconds_count 4.0" in done.stdout
    assert "active_readers" not in done.stdout, "docs/metrics.md says so"


DJANGO = (
    "from django.conf import settings\n"
    "settings.configure(SECRET_KEY='x', ALLOWED_HOSTS=['*'], ROOT_URLCONF=__name__, INSTALLED_APPS=['sse_bridge_django'])\n"
    "import django\n"
    "django.setup()\n"
)
WSGI = "\nfrom django.core.wsgi import get_wsgi_application\napp = get_wsgi_application()\n"


@pytest.mark.parametrize(
    ("kind", "server", "before", "after"),
    [
        ("asgi", "uvicorn", "", ""),
        ("django", "gunicorn-gthread", DJANGO, WSGI),
        ("flask", "gunicorn-gthread", "", "\napp = create_app()\n"),
    ],
    ids=["asgi", "django", "flask"],
)
def test_the_documented_ways_to_expose_them(tmp_path: Path, kind: str, server: str, before: str, after: str) -> None:
    (tmp_path / "site_under_test.py").write_text(before + BLOCKS[kind] + after)
    paths = os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "integrations")])
    with (
        serve(server, "site_under_test:app", env={**os.environ, "PYTHONPATH": paths}, cwd=tmp_path) as running,
        HTTPStream(f"{running.url}/metrics") as response,
    ):
        assert response.status == 200
        assert b"sse_bridge_active_streams 0.0" in response.read_all()
