"""Daemon threads: one at a time, started again when the last has ended, and whoever fails to start is no obstacle."""

from __future__ import annotations

import threading

import pytest

from sse_bridge.runtime import daemon
from sse_bridge.runtime.daemon import Daemon
from tests.support.wait import wait_for


def test_one_at_a_time_and_another_behind_it() -> None:
    ends, begun = threading.Semaphore(0), []

    def work() -> None:
        begun.append(threading.current_thread().name)
        ends.acquire(timeout=60)

    worker = Daemon(work, "worker")
    assert not worker.running
    for _ in range(3):
        worker.start()
    wait_for(lambda: begun == ["worker"])
    assert worker.running
    assert not worker.join(0.01)
    ends.release()
    assert worker.join(60)
    assert not worker.running
    wait_for(lambda: "worker" not in [thread.name for thread in threading.enumerate()])
    worker.start()
    wait_for(lambda: begun == ["worker"] * 2)
    ends.release()
    assert worker.join(60)


def test_one_that_retires_gives_way_at_once_and_joins_itself() -> None:
    told: list[object] = []

    def work() -> None:
        told.append(worker.join(60))
        worker.retire()
        told.append(worker.running)
        worker.start() if len(told) < 4 else None

    worker = Daemon(work, "worker")
    worker.start()
    wait_for(lambda: told == [True, False] * 2)


def test_a_system_without_threads_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    done: list[int] = []
    worker = Daemon(lambda: done.append(1), "worker")
    with monkeypatch.context() as patched:
        patched.setattr(daemon._thread, "start_new_thread", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            worker.start()
    assert not worker.running
    worker.start()
    wait_for(lambda: done == [1])
