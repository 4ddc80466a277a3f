"""The drain at SIGTERM and SIGINT: every stream ends on a frame boundary with its own ``retry:`` before the server
goes down.

Lifespan shutdown comes too late on every server, so a handler is chained in front of the server's own. The first signal
starts the drain; when it is over (or its time is up) the handler sends the signal again, and every signal after the
first goes straight to the previous handler, on the main thread, where it expects to run.

Nothing in the handler takes a lock or sets an Event: the interrupted code may hold that very lock. It starts a native
thread, or under gevent a greenlet through the hub's loop.
"""

from __future__ import annotations

import _thread
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .registry import Registry

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
GRACE_SECONDS: Final = 2.0  # beyond the spread: an alarm of a hub on threads may be a second late
LAST_FRAMES_SECONDS: Final = 0.1  # for what was written last to leave the server (granian drops it otherwise)

logger = logging.getLogger("sse_bridge.streams")

_registries: weakref.WeakKeyDictionary[Registry, tuple[float, int]] = weakref.WeakKeyDictionary()


def drain_at_exit(registry: Registry, spread_seconds: float) -> None:
    """From now on the streams of this registry are drained by the handler of this process, not of its forks."""
    _registries[registry] = spread_seconds, os.getpid()


class _Handler:
    """Our link in the chain for one signal."""

    def __init__(self, previous: Any) -> None:
        self.previous = previous
        self.pid = os.getpid()
        self._seen = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        busy = [] if self._seen or self.pid != os.getpid() else _busy()
        if not busy:
            self._pass_on(number, frame)
            return
        self._seen = True
        try:
            _start(lambda: _drain(busy, number))
        except RuntimeError:  # no thread can be started
            self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self.previous):
            self.previous(number, frame)
        elif self.previous == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def ensure_drain_handler() -> None:
    """Puts our handler on top where it is missing. Does nothing off the main thread, and never raises.

    Called when an app is made, at lifespan startup and at the start of every stream, since servers install their own
    handlers at different times.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        try:
            current = signal.getsignal(number)
            if current is None or current == signal.SIG_IGN:  # not Python's own, or meant to change nothing
                continue
            if not isinstance(current, _Handler) or current.pid != os.getpid():  # a parent's passes on only
                signal.signal(number, _Handler(current))
        except (ValueError, OSError) as error:  # an embedded interpreter
            logger.debug("no drain handler for signal %d: %s", number, error)


def _busy() -> list[tuple[Registry, float]]:
    """The registries of this process that have streams; safe in a signal handler."""
    while True:
        try:
            known = list(_registries.items())
        except RuntimeError:  # another thread made a bridge meanwhile
            continue
        return [(registry, spread) for registry, (spread, pid) in known if pid == os.getpid() and len(registry)]


def _drain(busy: list[tuple[Registry, float]], number: int) -> None:
    try:
        until = time.monotonic() + max(spread for _, spread in busy) + GRACE_SECONDS
        for registry, spread in busy:
            registry.begin_drain(spread)
        for registry, _ in busy:
            if not registry.drained(max(0.0, until - time.monotonic())):
                logger.warning("%d streams did not end in time for signal %d", len(registry), number)
        time.sleep(LAST_FRAMES_SECONDS)
    finally:
        os.kill(os.getpid(), number)  # whatever happened, the process was told to go


def _gevent_patched() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _start(work: Callable[[], None]) -> None:
    if _gevent_patched():
        import gevent

        gevent.get_hub().loop.run_callback(gevent.spawn, work)
    else:
        _thread.start_new_thread(work, ())
