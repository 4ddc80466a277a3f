"""Following tasks, in this process: which tasks, which channel, what is told, and that nothing of it fails a task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from sse_bridge import Bridge
from sse_bridge.errors import ConfigurationError
from sse_bridge_celery import TaskFollower, follow_tasks, progress


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with Bridge() as made:
        yield made


@pytest.fixture
def app() -> Iterator[Celery]:
    made = Celery("eager", broker="memory://", backend="cache+memory://", set_as_current=False)
    made.conf.update(task_always_eager=True, task_eager_propagates=False)

    @made.task(bind=True, name="shop.export", shared=False)
    def export(self: Any, rows: int) -> int:
        for n in range(1, rows + 1):
            progress(self, n, rows)
        return rows

    @made.task(name="shop.failing", shared=False)
    def failing() -> None:
        raise ValueError("a secret")

    yield made
    made.close()


@pytest.fixture
def follow(app: Celery, bridge: Bridge) -> Iterator[Any]:
    made: list[TaskFollower] = []

    def start(**options: Any) -> TaskFollower:
        made.append(follow_tasks(app, bridge=bridge, **options))
        return made[-1]

    yield start
    for follower in made:
        follower.stop()
        follower.stop()


def types(bridge: Bridge, channel: str) -> list[str]:
    return [event.type for event in bridge.history(channel)]


WHOLE = ["task.started", "task.progress", "task.succeeded", "stream.end"]


def test_each_task_has_a_channel_of_its_own_by_default(app: Celery, bridge: Bridge, follow: Any) -> None:
    follow()
    task_id = app.tasks["shop.export"].delay(1).id
    assert types(bridge, f"task:{task_id}") == WHOLE


def test_a_channel_for_several_tasks_stays_open(app: Celery, bridge: Bridge, follow: Any) -> None:
    follow(channel="tasks:{name}")
    for _ in range(2):
        app.tasks["shop.export"].delay(1)
    assert types(bridge, "tasks:shop.export") == [*WHOLE[:-1], *WHOLE[:-1]]


def test_the_channel_may_be_anybodys_choice(app: Celery, bridge: Bridge, follow: Any) -> None:
    follow(channel=lambda task, task_id: None if task.name == "shop.failing" else f"user:7:{task_id}", close=True)
    task_id = app.tasks["shop.export"].delay(1).id
    app.tasks["shop.failing"].delay()
    assert types(bridge, f"user:7:{task_id}") == WHOLE


@pytest.mark.parametrize("how", ["by name", "by object"])
def test_only_some_tasks(how: str, app: Celery, bridge: Bridge, follow: Any) -> None:
    follow(tasks=["shop.export"] if how == "by name" else [app.tasks["shop.export"]])
    ids = [app.tasks[name].delay(*args).id for name, args in [("shop.export", (1,)), ("shop.failing", ())]]
    assert [types(bridge, f"task:{task_id}") for task_id in ids] == [WHOLE, []]


def test_other_apps_are_not_followed(bridge: Bridge, follow: Any) -> None:
    follow()
    with Celery("other", broker="memory://", backend="cache+memory://", set_as_current=False) as other:
        other.conf.task_always_eager = True

        @other.task(name="shop.export", shared=False)
        def export() -> int:
            return 1

        task_id = export.delay().id
    assert types(bridge, f"task:{task_id}") == []


def test_results_may_stay_secret(app: Celery, bridge: Bridge, follow: Any) -> None:
    follow(result=False)
    task_id = app.tasks["shop.export"].delay(0).id
    assert bridge.history(f"task:{task_id}")[1].data == {"id": task_id, "name": "shop.export"}


def test_debug_tells_why_a_task_failed(app: Celery) -> None:
    with Bridge(debug=True) as bridge:
        follower = follow_tasks(app, bridge=bridge)
        try:
            task_id = app.tasks["shop.failing"].delay().id
        finally:
            follower.stop()
        data = bridge.history(f"task:{task_id}")[1].data
    assert data["message"] == "ValueError: a secret"
    assert "raise ValueError" in data["traceback"]


def test_progress_is_told_at_most_so_often_and_at_last(app: Celery, bridge: Bridge, follow: Any) -> None:
    follower = follow(progress_seconds=60)
    task_id = app.tasks["shop.export"].delay(1000).id
    told = [event.data["current"] for event in bridge.history(f"task:{task_id}") if event.type == "task.progress"]
    assert told == [1, 1000]
    assert follower._told_at == {}  # nothing is left of a task that has ended


def test_progress_of_what_is_not_followed_does_nothing(app: Celery, bridge: Bridge, follow: Any) -> None:
    assert app.tasks["shop.export"].delay(3).get() == 3
    follower = follow()
    assert app.tasks["shop.export"](3) == 3  # called as a function
    assert follower.failures == 0


def test_a_follower_that_was_stopped_tells_nothing(app: Celery, bridge: Bridge, follow: Any) -> None:
    follow().stop()
    assert types(bridge, f"task:{app.tasks['shop.export'].delay(1).id}") == []


def test_following_twice_is_a_mistake(app: Celery, follow: Any) -> None:
    follow().stop()
    follow()
    with pytest.raises(ConfigurationError, match="followed already"):
        follow()


@pytest.mark.parametrize("channel", ["task:{task}", "task:{", "{0}"])
def test_a_template_that_cannot_be_filled_is_refused(channel: str, app: Celery) -> None:
    with pytest.raises(ConfigurationError, match="fields"):
        follow_tasks(app, channel=channel)


def broken(task: Any, task_id: str) -> str:
    raise LookupError("no such user")


@pytest.mark.parametrize("channel", ["no spaces in {id}", broken])
def test_what_cannot_be_published_is_logged_and_counted(
    channel: Any, app: Celery, follow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    follower = follow(channel=channel)
    assert app.tasks["shop.export"].delay(1).get() == 1
    assert follower.failures == 3
    assert caplog.text.count("publishing task.") == 3


def test_an_eager_task_on_a_loops_thread_does_not_fail(app: Celery, bridge: Bridge, follow: Any) -> None:
    follower = follow()

    async def view() -> int:
        return app.tasks["shop.export"].delay(1).get()

    assert asyncio.run(view()) == 1
    assert follower.failures == 3  # publishing there would block the loop; see the log


def test_a_task_that_runs_again_after_its_end_is_told_no_more(
    app: Celery, bridge: Bridge, follow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    follow()
    for _ in range(2):
        assert app.tasks["shop.export"].apply((1,), task_id="same").get() == 1
    assert types(bridge, "task:same") == WHOLE
    assert "not published" in caplog.text
