"""The drain at SIGTERM and SIGINT, and of a worker that retires without either: every stream ends on a frame boundary
with its own ``retry:`` before the server goes down.

Lifespan shutdown comes too late on every server, so a handler is chained in front of the server's own. The first signal
starts the drain; when the drain is over (or its time is up) the signal is sent again, and every signal after the first
goes straight to the previous handler, on the main thread, where that handler expects to run.

The handler takes no lock and sets no Event, since the interrupted code may hold that very lock; it starts a native
thread, or under gevent a greenlet through the hub's loop.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub
import _thread
import asyncio
import logging
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from ...runtime.chance import CHANCE
from ...runtime.wakers import gevent_patched
from .retirement import Retirement

if TYPE_CHECKING:
    from .registry import Registry

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
GRACE_SECONDS: Final = 2.0  # beyond the spread: an alarm of a hub on threads may be a second late
LAST_FRAMES_SECONDS: Final = 0.1  # for the last frames to leave the server; granian drops them otherwise

logger = logging.getLogger("sse_bridge.streams")

_registries: weakref.WeakKeyDictionary[Registry, tuple[float, int]] = weakref.WeakKeyDictionary()


def drain_at_exit(registry: Registry, spread_seconds: float) -> None:
    """Drains this registry's streams when this process (not a fork of it) gets a signal, or their server retires."""
    CHANCE.seed()  # uWSGI forks without Python's hooks: its workers' spreads would be alike
    registry.on_add = _at_a_stream
    _registries[registry] = spread_seconds, os.getpid()


def _at_a_stream() -> None:
    ensure_drain_handler()
    _RETIREMENT.look()


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

    Called when an app is made, at lifespan startup and when a stream is registered, since servers install their own
    handlers at different times.
    """
    pid = os.getpid()
    for number in SIGNALS:
        current = _signal.getsignal(number)  # signal.getsignal looks for an enum's member first, which takes 2 µs
        if isinstance(current, _Handler) and current.pid == pid:  # a parent's handler only passes signals on
            continue
        if threading.current_thread() is not threading.main_thread():
            return
        if current is None or current == signal.SIG_IGN:  # a handler from C, or signals that the program ignores
            continue
        try:
            signal.signal(number, _Handler(current))
        except (ValueError, OSError) as error:  # an embedded interpreter
            logger.debug("no drain handler for signal %d: %s", number, error)


def _busy() -> list[tuple[Registry, float]]:
    """The registries of this process that have streams; safe in a signal handler."""
    return [(registry, spread) for registry, spread in _own() if len(registry)]


def _own() -> list[tuple[Registry, float]]:
    while True:
        try:
            known = list(_registries.items())
        except RuntimeError:  # another thread made a bridge just then
            continue
        return [(registry, spread) for registry, (spread, pid) in known if pid == os.getpid()]


def _retire(loop: asyncio.AbstractEventLoop | None) -> None:
    """Ends the streams of a loop, or of this process, whose server retires, present and new ones."""
    registries = [(registry, spread) for registry, spread in _own() if not registry.is_draining(loop)]
    if not registries:
        return
    logger.info("the server retires; its streams end within %g seconds", max(spread for _, spread in registries))
    if loop is None:
        _start(lambda: _begin(registries, None))
    else:
        _begin(registries, loop)


def _begin(registries: list[tuple[Registry, float]], loop: asyncio.AbstractEventLoop | None) -> None:
    for registry, spread in registries:
        registry.begin_drain(spread, loop)


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
        os.kill(os.getpid(), number)  # also if the drain failed: the signal must end the process


def _start(work: Callable[[], None]) -> None:
    if gevent_patched():
        import gevent

        gevent.get_hub().loop.run_callback(gevent.spawn, work)
    else:
        _thread.start_new_thread(work, ())


_RETIREMENT: Final = Retirement(_retire, lambda: bool(_busy()))
