"""Threads that wait for several servers, one each, so that a server that does not answer holds up its own work only."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Hashable
from typing import Final

IDLE_SECONDS: Final = 2.0  # after so long without work a thread ends

logger = logging.getLogger("sse_bridge.hub")

Job = Callable[[], object]


class Workers:
    """A daemon thread (a greenlet where threading is patched) per key, made by its first job.

    Thread-safe; jobs of one key run one after the other, in order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[Hashable, queue.SimpleQueue[Job | None]] = {}

    def run(self, key: Hashable, job: Job) -> None:
        """Runs `job` on the thread of `key`, or here if the system has no thread; logs the job's exception."""
        with self._lock:
            jobs = self._jobs.get(key) or self._begin(key)
            if jobs is not None:
                jobs.put(job)
                return
        _do(job)

    def close(self) -> None:
        """Ends each thread behind its queued jobs."""
        with self._lock:
            ending, self._jobs = self._jobs, {}
        for jobs in ending.values():
            jobs.put(None)

    def _begin(self, key: Hashable) -> queue.SimpleQueue[Job | None] | None:
        jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        try:
            threading.Thread(target=self._work, args=(key, jobs), name="sse_bridge-reads", daemon=True).start()
        except RuntimeError as error:
            logger.warning("no thread for one of the servers (%s): the others wait for it meanwhile", error)
            return None
        self._jobs[key] = jobs
        return jobs

    def _work(self, key: Hashable, jobs: queue.SimpleQueue[Job | None]) -> None:
        while True:
            try:
                job = jobs.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if not jobs.empty():
                        continue
                    if self._jobs.get(key) is jobs:
                        del self._jobs[key]
                return
            if job is None:
                return
            _do(job)


def _do(job: Job) -> None:
    try:
        job()
    except Exception:
        logger.exception("work for one of the servers failed; the thread goes on")
