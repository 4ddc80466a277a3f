"""The system has no thread left, for a moment: nobody waits for a thread that never began."""

from __future__ import annotations

import _thread
import threading
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.hub.workers import Workers
from sse_bridge.runtime import daemon
from tests.support.wait import wait_for


class Refusals:
    """Refuses so many threads of this library."""

    def __init__(self, count: int) -> None:
        self.left = count

    def refuse(self) -> None:
        if self.left:
            self.left -= 1
            raise RuntimeError("can't start new thread")


def of_names(monkeypatch: pytest.MonkeyPatch, refusals: Refusals) -> None:
    start = threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if thread.name.startswith("sse_bridge"):
            refusals.refuse()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)


def test_a_reader_whose_housekeeping_thread_got_one_thread_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    of_names(monkeypatch, Refusals(1))
    with Bridge("memory://") as bridge, bridge.subscribe("a") as stream:
        assert stream.wait_ready(60)
        bridge.publish("a", 1)
        event = stream.next(60)
        assert event is not None


def test_whoever_keeps_the_error_keeps_no_housekeeping_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = Refusals(1)

    def refusing(*args: Any) -> int:
        refusals.refuse()
        return _thread.start_new_thread(*args)

    class Threads:
        start_new_thread = staticmethod(refusing)

    monkeypatch.setattr(daemon, "_thread", Threads)
    with Bridge("memory://") as bridge:
        with pytest.raises(RuntimeError, match="can't start") as kept:
            bridge.subscribe("a")
        with bridge.subscribe("a") as stream:
            assert stream.wait_ready(60), kept


def test_work_for_a_server_without_a_thread_is_done_by_the_caller(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    of_names(monkeypatch, Refusals(1))
    workers, done = Workers(), []
    workers.run("a", lambda: done.append(threading.current_thread().name))
    assert done == [threading.current_thread().name]
    assert "no thread for one of the servers" in caplog.text
    workers.run("a", lambda: done.append(threading.current_thread().name))
    wait_for(lambda: done[1:] == ["sse_bridge-reads"])
    workers.close()
