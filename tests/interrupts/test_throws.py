"""Another thread throws: `PyThreadState_SetAsyncExc` into one that publishes, subscribes and reads in a loop."""

from __future__ import annotations

import ctypes
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest

from sse_bridge import Bridge
from tests.interrupts.checks import PATIENCE_SECONDS, Other, all_is_back, all_work
from tests.support.interrupting import LEAST_POINTS, Interrupted, Interruption

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

THROWS = 600
STEPS = 7  # of one round of `Victim._round`
SWITCH_SECONDS = 1e-5  # between threads, so that a throw comes in the middle of a step
KINDS = (Interrupted, KeyboardInterrupt)


T = TypeVar("T")


class Victim:
    """A thread that works until it is thrown at, and then proves that nothing stayed behind; in lives, one per throw.

    A life begins inside of the `try` that catches, and only a throw ends it, so none comes anywhere else.

    Attributes:
        lives: gets the queue of each life, which gets an item for each step of its work.
        places: where throws came: the innermost function, and the line.
        lost: how many came in a finalizer, where Python throws them away; the life goes on.
        done: the thread's end, with its failure.
    """

    def __init__(self, bridge: Bridge, other: Other) -> None:
        self.lives: queue.SimpleQueue[queue.SimpleQueue[None]] = queue.SimpleQueue()
        self.places: set[tuple[str, int]] = set()
        self.lost = 0
        self.done: Future[None] = Future()
        self._bridge = bridge
        self._other = other
        self._steps: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ends = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def throw(self, kind: type[BaseException], steps: int) -> None:
        """Throws into the present life once it has done so many steps."""
        life = self._of(self.lives)
        for _ in range(steps):
            self._of(life)
        thread = ctypes.c_ulong(self._thread.ident or 0)
        assert ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(kind)) == 1

    def end(self) -> None:
        """Lets the last life end by itself."""
        self._of(self.lives)
        self._ends = True
        self.done.result(PATIENCE_SECONDS)

    def throw_is_lost(self) -> None:
        """Called by this thread's unraisable hook: the throw is over, and the next one may come."""
        self.lost += 1
        self.lives.put(self._steps)

    def is_this_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def _of(self, news: queue.SimpleQueue[T]) -> T:
        """The next item, or why there is none."""
        try:
            return news.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            if self.done.done():
                self.done.result()
            stack = traceback.format_stack(sys._current_frames()[self._thread.ident or 0])
            raise AssertionError(f"the thread stands still, or a throw was lost:\n{''.join(stack)}") from None

    def _run(self) -> None:
        try:
            for number in range(1, sys.maxsize):
                self._steps = queue.SimpleQueue()
                try:
                    self.lives.put(self._steps)
                    while not self._ends:
                        self._round()
                    break
                except KINDS as error:
                    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
                    place = (frame.f_code.co_qualname, line)
                    del frame  # else the call's objects live on
                self.places.add(place)
                where = Interruption(number, number)
                where.raised_at = (f"line {place[1]}", place[0])
                all_work(self._bridge, self._other, where)
            self.done.set_result(None)
        except BaseException as error:
            self.done.set_exception(error)

    def _round(self) -> None:
        bridge, step = self._bridge, self._steps.put
        step(None)
        position = bridge.publish("thrown", 1)
        step(None)
        bridge.publish_many([("thrown", 2), ("aside", 3)])
        step(None)
        bridge.history("thrown", limit=2)
        step(None)
        with bridge.subscribe(["thrown", "aside"], after=position) as stream:
            step(None)
            assert stream.wait_ready(PATIENCE_SECONDS)
            step(None)
            assert stream.next(PATIENCE_SECONDS) is not None
            step(None)


@pytest.fixture
def fast_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("fast_switches")
def test_what_another_thread_throws_leaves_nothing_behind(
    bridge: Bridge, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    # CPython 3.11 may throw into a thread that the victim just starts, for its state bears the victim's ident until it
    # runs; a reader that stays keeps all threads alive, so that the victim starts none.
    held = bridge.subscribe("held")
    assert held.wait_ready(PATIENCE_SECONDS)
    victim = Victim(bridge, other)
    hook: Callable[[Any], Any] = sys.unraisablehook

    def unraisable(what: Any) -> None:
        if isinstance(what.exc_value, KINDS) and victim.is_this_thread():
            victim.throw_is_lost()
        else:
            hook(what)

    monkeypatch.setattr(sys, "unraisablehook", unraisable)
    for number in range(THROWS):
        victim.throw(KINDS[number % 2], number % (2 * STEPS + 1))
    victim.end()
    held.close()
    assert len(victim.places) > LEAST_POINTS, victim.places
    all_work(bridge, other, Interruption(0, 0))
    all_is_back(bridge)
