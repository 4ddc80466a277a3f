"""Exceptions out of signal handlers, and gevent's timeouts, that find a call between any two of its lines."""

from __future__ import annotations

import random

from sse_bridge import Bridge
from tests.faults.registry import Scale, Tally, guarantee
from tests.support.process import Process
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for

CHILDREN = 3


@guarantee(
    "Celery prefork: soft time limits in publish() and next()",
    part="Cancellation",
    promise="no connection, reader or thread is left behind, every child goes on, nothing is stored twice",
)
def soft_time_limits(scale: Scale) -> Tally:
    from celery import Celery

    tally = Tally()
    tasks, count = scale.pick(30, 600), scale.pick(10, 100)
    chance = random.Random(7)
    with RedisServer() as redis, Bridge(redis.url) as bridge:
        command = ["python", "-m", "celery", "--app", "tests.faults.celery_site", "worker", "--pool", "prefork"]
        command += ["--concurrency", str(CHILDREN), "--without-gossip", "--without-mingle", "--without-heartbeat"]
        with Process([*command, "--loglevel", "INFO"], env={"SSE_BRIDGE_URL": redis.url}) as process:
            wait_for(lambda: "ready" in process.output or not process.alive, 60, what="the worker")
            app = Celery("client", broker=redis.url, backend="disabled://", set_as_current=False)
            for number in range(tasks):
                limit = chance.uniform(0.02, 0.12)
                app.send_task("tests.faults.celery_site.run_out_of_time", (number, 5), soft_time_limit=limit)
            # one that is interrupted in Celery's own lines fails there, and says so
            wait_for(
                lambda: len(bridge.history("over", limit=10_000)) + process.output.count("raised unexpected") >= tasks,
                120,
                what="the tasks",
            )
            for name in range(CHILDREN):
                app.send_task("tests.faults.celery_site.follow", (name, count, CHILDREN))
            answers = []
            with bridge.subscribe("answers", after="earliest") as stream:
                for _ in range(CHILDREN):
                    event = stream.next(timeout=60)
                    assert event is not None, process.output
                    answers.append(event.data)
            app.close()
        tally.faults = [event.data for event in bridge.history("over", limit=10_000)].count("interrupted")
        steps = [tuple(event.data) for event in bridge.history("steps", limit=10_000)]
    tally.published = len(steps) + count * CHILDREN
    tally.doubled = len(steps) - len(set(steps))
    if tally.faults < tasks * 0.8:
        tally.wrong.append(f"only {tally.faults} of {tasks} tasks were interrupted: {process.output}")
    for answer in answers:
        tally.lost += count * CHILDREN - len(set(answer["offsets"]))
        tally.doubled += len(answer["offsets"]) - len(set(answer["offsets"]))
        tally.reordered += answer["offsets"] != sorted(answer["offsets"])
        if any(answer["taken"]):
            tally.wrong.append(f"connections, readers and threads left behind: {answer['taken']}")
    return tally


@guarantee(
    "Alarms whose handler raises, at random moments of publish() and next()",
    part="Cancellation",
    promise="every stored event once, for the interrupted reader too; nothing is left behind",
)
def alarms(scale: Scale) -> Tally:
    tally = Tally()
    with RedisServer() as redis:
        for url in ("memory://", redis.url, f"{redis.url.removesuffix('0')}1"):  # a number is sent for a database
            command = ["python", "-m", "tests.faults.alarmed", url, str(scale.pick(1, 12)), "7"]
            with Process(command) as process:
                if process.wait(60) != 0:
                    tally.wrong.append(f"{url}: {process.output}")
                    continue
                ended, published = map(int, process.output.split()[-2:])
                tally.faults += ended
                tally.published += published
    return tally
