"""Children of processes that were busy with the bridge: forks from a thread, preloaded workers, Celery's prefork pool."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from sse_bridge import Bridge
from tests.faults.forking import EACH
from tests.faults.registry import Scale, Tally, guarantee
from tests.faults.serving import Served, add_figures, serving
from tests.support.crowd import Crowd
from tests.support.process import Process
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for


@guarantee(
    "Forks from a thread while others publish and follow",
    part="Processes",
    promise="children publish and follow in both colours, the parent misses nothing",
)
def forked_from_a_thread(scale: Scale) -> Tally:
    children = scale.pick(2, 20)
    tally = Tally()
    with RedisServer() as redis:
        for url in ("memory://", redis.url):
            with Process(["python", "-W", "ignore", "-m", "tests.faults.forking", url, str(children)]) as process:
                code = process.wait(90)
                if code:
                    tally.wrong.append(f"{url}: {process.output}")
                    continue
                tally.published += int(process.output) + 2 * EACH * children
                tally.faults += children
    return tally


@guarantee(
    "gunicorn --preload with two uvicorn workers",
    part="Processes",
    promise="both workers stream what either publishes",
)
def preloaded(scale: Scale) -> Tally:
    tally = Tally()
    readers, events, published = scale.pick(16, 60), scale.pick(40, 200), 0
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        arguments = ("--preload", "--workers", "2")
        site = stack.enter_context(serving("gunicorn-uvicorn", redis.url, arguments=arguments, warm=True))
        crowd = stack.enter_context(Crowd(site.stream("a"), readers))
        crowd.wait(lambda member: member.open, 60)
        # a worker that is idle gets every connection, so somebody else keeps one busy
        done = threading.Event()
        other = threading.Thread(target=_publish_until, args=(site, done))
        other.start()
        stack.callback(other.join)
        stack.callback(done.set)
        pids: set[int] = set()
        while len(pids) < 2 and events < 10_000:
            pids |= {site.get(f"/publish?channel=a&data={number}")["pid"] for number in range(published, events)}
            published, events = events, events + 40
        crowd.wait(lambda member: member.next == published)
        add_figures(tally, crowd, published)
        tally.faults += len(pids)
        if len(pids) != 2:
            tally.wrong.append(f"expected two workers to publish, got {pids}")
    return tally


def _publish_until(site: Served, done: threading.Event) -> None:
    while not done.is_set():
        site.get("/publish?channel=b&data=0")


@guarantee(
    "Celery prefork: tasks that follow a channel and publish to it",
    part="Processes",
    promise="every child sees what all children publish",
    soak=True,
)
def followed_in_celery_children(scale: Scale) -> Tally:
    tally = Tally()
    count, children = scale.pick(50, 500), 3
    with RedisServer() as redis, Bridge(redis.url) as bridge:
        command = ["python", "-m", "celery", "--app", "tests.faults.celery_site", "worker", "--pool", "prefork"]
        command += ["--concurrency", str(children), "--without-gossip", "--without-mingle", "--without-heartbeat"]
        command += ["--loglevel", "INFO"]
        with Process(command, env={"SSE_BRIDGE_URL": redis.url}) as process:
            wait_for(lambda: "ready" in process.output or not process.alive, 60, what="the worker")
            from celery import Celery

            app = Celery("client", broker=redis.url, backend="disabled://", set_as_current=False)
            for name in range(children):
                app.send_task("tests.faults.celery_site.follow", (name, count, children))
            answers = []
            with bridge.subscribe("answers", after="earliest") as stream:
                for _ in range(children):
                    event = stream.next(timeout=60)
                    assert event is not None, process.output
                    answers.append(event.data)
            app.close()
    tally.published = count * children
    tally.faults = len({answer["pid"] for answer in answers})
    if tally.faults != children:
        tally.wrong.append(f"expected {children} children to follow, got {answers}")
    for answer in answers:
        offsets = answer["offsets"]
        tally.lost += count * children - len(set(offsets))
        tally.doubled += len(offsets) - len(set(offsets))
        tally.reordered += offsets != sorted(offsets)
    return tally
