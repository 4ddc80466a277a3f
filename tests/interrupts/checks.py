"""What must hold behind each interruption: nothing stays locked, taken or registered."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from sse_bridge import Bridge
from tests.hub.scenarios import our_threads
from tests.support.interrupting import Interruption
from tests.support.wait import wait_for

PATIENCE_SECONDS = 60


class Other:
    """A second thread, which nobody interrupts."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def begin(self, job: Callable[[], Any]) -> Future[Any]:
        answer: Future[Any] = Future()
        self._jobs.put((job, answer))
        return answer

    def do(self, job: Callable[[], Any]) -> Any:
        return self.begin(job).result(PATIENCE_SECONDS)

    def end(self) -> None:
        self._jobs.put(None)
        self._thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, answer = item
            try:
                answer.set_result(job())
            except BaseException as error:
                answer.set_exception(error)


def all_work(bridge: Bridge, other: Other, where: Interruption) -> None:
    """This thread and another one publish, read and close."""

    def work(channel: str) -> None:
        position = bridge.publish(channel, 1)
        with bridge.subscribe(channel, after="earliest") as stream:
            event = stream.next(PATIENCE_SECONDS)
        assert event is not None, where
        assert event.position == position, where

    work(f"same:{where.number}")
    other.do(lambda: work(f"other:{where.number}"))


def all_is_back(bridge: Bridge) -> None:
    """Connections, readers, feeds and threads."""
    gc.collect()
    client = getattr(bridge.backend, "_client", None)
    if client is not None:
        # the housekeeping thread may be in the middle of giving a lease back
        wait_for(
            lambda: len(client.slots) == sum(map(len, client._idle.values())) <= 3, what="the connections to be idle"
        )
    hub = bridge.thread_hub()
    wait_for(lambda: hub.readers() == 0, what="the readers to leave")
    wait_for(lambda: not hub.owners, what="the last owners' members to be closed")
    wait_for(lambda: not our_threads(), what="the threads to end")
    assert len(hub.alarms) == 0
    assert not hub.admission.state.members
    assert not hub.state.feeds
