"""Real workers on a real broker: publishing after fork and in every pool, and the life of tasks as events."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sse_bridge import Bridge, Event
from tests.support.process import Process, free_port
from tests.support.redis_server import RedisServer
from tests.support.requires import needs_redis7
from tests.support.wait import wait_for

pytestmark = needs_redis7

POOLS = {
    "prefork": ["--pool", "prefork", "--concurrency", "3"],
    "threads": ["--pool", "threads", "--concurrency", "3"],
    "gevent": ["--pool", "gevent", "--concurrency", "20"],
}


@contextmanager
def worker(broker: str, url: str, pool: str, **env: str) -> Iterator[Process]:
    """A worker whose tasks this process sends by name, so that no Celery app is shared with it."""
    command = ["python", "-m", "celery", "--app", "tests.celery_app.site", "--quiet", "worker", "--loglevel", "INFO"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat", *POOLS[pool]]
    environment = {"BROKER_URL": broker, "SSE_BRIDGE_URL": url, **env}
    with Process(command, env=environment) as process:
        wait_for(lambda: "ready" in process.output or not process.alive, 60, what="the worker")
        assert process.alive, process.output
        yield process


class Site:
    """A worker, its broker, and a reader of what its tasks publish."""

    def __init__(self, process: Process, broker: str, pool: str) -> None:
        from celery import Celery

        self.process = process
        self.pool = pool
        # without a result backend: results come as events
        self.app = Celery("client", broker=broker, backend="disabled://", set_as_current=False)
        self.bridge = Bridge(broker)

    def send(self, name: str, *args: Any, **options: Any) -> str:
        """The id of the task."""
        return str(self.app.send_task(f"tests.celery_app.site.{name}", args, **options))

    def result(self, task_id: str) -> Any:
        return next(event for event in self.events(task_id) if event.type == "task.succeeded").data["result"]

    def events(self, task_id: str) -> list[Event]:
        """Everything on the channel of a task, up to its end."""
        events = []
        with self.bridge.subscribe(f"task:{task_id}", after="earliest") as stream:
            while not stream.closed:
                event = stream.next(timeout=60)
                assert event is not None or stream.closed, self.process.output
                if event is not None:
                    events.append(event)
        return events

    def close(self) -> None:
        self.bridge.close()
        self.app.close()


@pytest.fixture(scope="module", params=POOLS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with RedisServer() as broker, worker(broker.url, broker.url, request.param) as process:
        made = Site(process, broker.url, request.param)
        yield made
        made.close()


# Celery ends running tasks, and has soft time limits, in its prefork pool only.
prefork_only = pytest.mark.parametrize("site", ["prefork"], indirect=True)


def summary(events: list[Event]) -> list[str]:
    return [event.type for event in events]


def test_tasks_publish_side_by_side_and_nothing_is_lost(site: Site) -> None:
    tasks = [site.send("publishing", "orders", 100) for _ in range(6)]
    answers = [site.result(task_id) for task_id in tasks]
    events = site.bridge.history("orders", limit=1000)
    assert [event.position.offset for event in events if event.position] == list(range(1, 601))
    runs: dict[tuple[int, int], list[int]] = {}
    for event in events:
        runs.setdefault((event.data["pid"], event.data["thread"]), []).append(event.data["n"])
    assert sorted(n for numbers in runs.values() for n in numbers) == sorted(list(range(100)) * 6)
    assert {failures for _, _, failures in answers} == {0}
    pids = {pid for pid, _ in runs}
    before = site.bridge.history("before-the-fork")[0].data
    assert (before in pids) == (site.pool != "prefork")
    assert os.getpid() not in pids


def test_the_life_of_a_task(site: Site) -> None:
    task_id = site.send("export", 3)
    events = site.events(task_id)
    assert summary(events) == ["task.started", *["task.progress"] * 3, "task.succeeded", "stream.end"]
    head = {"id": task_id, "name": "tests.celery_app.site.export"}
    assert events[0].data == {**head, "retries": 0}
    assert events[1].data == {**head, "current": 1, "total": 3, "percent": 33.3, "message": "row"}
    assert events[4].data == {**head, "result": {"rows": 3}}
    assert events[5].data == {"channel": f"task:{task_id}", "reason": "succeeded"}


def test_a_failure_tells_no_secret(site: Site) -> None:
    events = site.events(site.send("failing"))
    assert summary(events) == ["task.started", "task.failed", "stream.end"]
    assert events[1].data["message"] == "the task failed"
    assert "traceback" not in events[1].data
    assert events[2].data["reason"] == "failed"


def test_retries_go_on_on_the_same_channel(site: Site) -> None:
    events = site.events(site.send("flaky"))
    assert summary(events) == [*["task.started", "task.retried"] * 2, "task.started", "task.succeeded", "stream.end"]
    assert [event.data["retries"] for event in events[:5]] == [0, 0, 1, 1, 2]
    assert "secret" not in str([event.data for event in events])


def test_a_result_that_no_event_carries_is_left_out(site: Site) -> None:
    events = site.events(site.send("unspeakable", 100_000))
    assert summary(events) == ["task.started", "task.succeeded", "stream.end"]
    assert "max_event_bytes" in events[1].data["result_omitted"]


def test_an_ignored_task_ends_too(site: Site) -> None:
    assert summary(site.events(site.send("ignoring"))) == ["task.started", "task.ignored", "stream.end"]


def test_a_task_that_expired_is_revoked(site: Site) -> None:
    events = site.events(site.send("export", 1, expires=-1))
    assert summary(events) == ["task.revoked", "stream.end"]
    assert events[0].data["expired"] is True


@prefork_only
def test_a_task_that_is_stopped(site: Site) -> None:
    task_id = site.send("endless")
    with site.bridge.subscribe(f"task:{task_id}", after="earliest") as stream:
        first = stream.next(timeout=60)
        assert first is not None
        site.app.control.revoke(task_id, terminate=True)
    events = site.events(task_id)
    assert summary(events) == ["task.started", "task.revoked", "stream.end"]
    assert events[1].data["terminated"] is True


@prefork_only
def test_a_soft_time_limit_reaches_the_task_through_progress(site: Site) -> None:
    assert site.result(site.send("limited")) == "in time"


def test_a_dead_broker_of_events_fails_no_task(redis_url: str) -> None:
    # the broker of the tasks lives, that of the events does not
    with RedisServer() as broker:
        nowhere = f"redis://127.0.0.1:{free_port()}/0"
        env = {"SSE_BRIDGE_PUBLISH_TIMEOUT_SECONDS": "0.2", "EVENTS": "later"}
        with worker(broker.url, nowhere, "threads", **env) as process:
            site = Site(process, broker.url, "threads")
            try:
                for name, args, outcome in [("export", [50], b"SUCCESS"), ("failing", [], b"FAILURE")]:
                    key = "celery-task-meta-" + site.send(name, *args)
                    wait_for(lambda key=key, outcome=outcome: outcome in broker.command("GET", key), what=key)
                # the other task's end is told by another thread
                wait_for(lambda: process.output.count("publishing task.") >= 4, what=process.output)
                wait_for(lambda: "task.failed of" in process.output, what=process.output)
                # while the broker is away, progress is not tried each time
                assert process.output.count("task.progress of") <= 2
            finally:
                site.close()
