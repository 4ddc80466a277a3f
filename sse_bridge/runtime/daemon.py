"""Daemon threads (greenlets where gevent has patched threading) whose start is all or nothing.

`threading.Thread.start` waits for an Event, which is written in Python: an exception out of a signal handler there would
leave a thread that never runs, or one without a reference. So a raw thread, which one call starts and in which no signal
handler runs, makes the named one. `Daemon.running` keeps no flag: a weak reference to an object of the thread tells.
"""

from __future__ import annotations

import _thread
import threading
import weakref
from collections.abc import Callable

from . import forks


class _Alive:
    """Referenced by its thread alone, until that ends."""

    __slots__ = ("__weakref__", "born", "ended", "thread")

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.born = forks.count
        self.ended = threading.Lock()
        self.ended.acquire()


_parked: list[threading.Lock] = []


def _park() -> None:
    """Never returns: a greenlet copied into a forked child, unknown to `threading` there, would raise an error at its end."""
    lock = threading.Lock()
    _parked.append(lock)
    with lock:
        lock.acquire()


class Daemon:
    """One thread at a time.

    Args:
        work: the thread's target; under gevent it must return in a forked child, too (`forks.count` differs there).
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._name = name
        self._alive: weakref.ref[_Alive] | None = None
        self._ident = 0

    @property
    def running(self) -> bool:
        """Whether the thread was started, and has neither ended nor called `retire`."""
        return self._alive is not None and self._alive() is not None

    def start(self) -> None:
        """Starts the thread unless it runs; callers of this and of `retire` share one lock.

        Raises:
            RuntimeError: the system has no more threads.
        """
        if self.running:
            return
        alive = _Alive()
        known = weakref.ref(alive)
        self._alive = known  # no call comes between this line and the start
        try:
            _thread.start_new_thread(self._begin, (alive,))
        except RuntimeError:
            self._alive = None  # the error's traceback keeps `alive`, which would count as running
            raise

    def retire(self) -> None:
        """Announces that the thread is about to end by itself: from now on `start` makes another."""
        self._alive = None

    def join(self, seconds: float) -> bool:
        """Waits for the thread's end; False after `seconds`; True at once on the thread itself."""
        alive = None if self._alive is None else self._alive()
        if alive is None or self._ident == threading.get_ident():
            return True
        if not alive.ended.acquire(timeout=seconds):
            return False
        alive.ended.release()
        if alive.thread is not None:
            alive.thread.join(seconds)  # returns at once: `ended` is the last line of the thread's work
        return True

    def _begin(self, alive: _Alive) -> None:
        alive.thread = threading.Thread(target=self._run, args=(alive,), name=self._name, daemon=True)
        try:
            alive.thread.start()
        except RuntimeError:  # no second thread to be had: this one works without the name
            alive.thread = None
            self._run(alive)

    def _run(self, alive: _Alive) -> None:
        self._ident = threading.get_ident()
        try:
            if alive.born == forks.count:
                self._work()
            if alive.born != forks.count:
                _park()
        finally:
            if self._alive is not None and self._alive() is alive:
                self._alive = None
            alive.ended.release()
