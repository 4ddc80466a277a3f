"""Waiting and waking: one body for threads, and one program for greenlets in a process of its own."""

from __future__ import annotations

import threading
import time

from sse_bridge.runtime.wakers import LockWaker, new_waker
from tests.support.gevent_run import gevent_run
from tests.support.wait import stays


def waits(waker: LockWaker, seconds: float | None = None) -> threading.Thread:
    """A thread that waits."""
    thread = threading.Thread(target=waker.wait, args=(seconds,), daemon=True)
    thread.start()
    return thread


def test_threads_get_a_lock() -> None:
    assert type(new_waker()) is LockWaker


def test_a_wake_before_the_wait_is_remembered() -> None:
    waker = LockWaker()
    waker.wake()
    waker.wait(0)
    began = time.monotonic()
    waker.wait(0.05)
    assert time.monotonic() - began >= 0.05, "one wake ends one wait"


def test_several_wakes_count_as_one() -> None:
    waker = LockWaker()
    for _ in range(3):
        waker.wake()
    waker.wait()
    waiter = waits(waker)
    stays(waiter.is_alive, 0.05)
    waker.wake()
    waiter.join(30)
    assert not waiter.is_alive()


def test_a_wait_ends_after_its_time() -> None:
    waker = LockWaker()
    waker.wait(-1)
    began = time.monotonic()
    waker.wait(0.1)
    assert 0.1 <= time.monotonic() - began < 30


def test_any_number_of_threads_may_wake_at_once() -> None:
    waker = LockWaker()
    done = threading.Event()

    def wake() -> None:
        while not done.is_set():
            waker.wake()  # an exception here fails the test: pytest watches threads

    wakers = [threading.Thread(target=wake) for _ in range(2)]
    for thread in wakers:
        thread.start()
    for _ in range(100):
        waker.wait()
    done.set()
    for thread in wakers:
        thread.join()


GREENLETS = """
    import threading, time
    import gevent
    from gevent.monkey import get_original
    from sse_bridge.runtime.wakers import GreenletWaker, new_waker

    assert type(new_waker()) is GreenletWaker

    # a wake before the wait is remembered, several count as one
    waker = new_waker()
    for _ in range(3):
        waker.wake()
    waker.wait()
    began = time.monotonic()
    waker.wait(0.05)
    assert time.monotonic() - began >= 0.04

    # another greenlet wakes
    waiter = gevent.spawn(waker.wait)
    gevent.sleep(0)
    assert not waiter.dead
    waker.wake()
    waiter.join(30)
    assert waiter.dead

    # a wake and the timer at the same moment: the next wait is not cut short by what is left over
    for _ in range(200):
        waiter = gevent.spawn(waker.wait, 0.0)
        gevent.sleep(0)
        waker.wake()
        waiter.join(30)
        waker.wait(0.0)
    began = time.monotonic()
    waker.wait(0.05)
    assert time.monotonic() - began >= 0.04

    # a waiter that is killed leaves nothing behind
    waiter = gevent.spawn(waker.wait)
    gevent.sleep(0)
    waiter.kill()
    waker.wake()
    waker.wait()

    # a native thread may wake just between the look at the flag and the wait
    class Late(waker._waiter_class):
        def __new__(cls, hub):
            waker.wake()
            return super().__new__(cls, hub)

    waker._waiter_class, usual = Late, waker._waiter_class
    with gevent.Timeout(5, AssertionError("the wake was lost")):
        waker.wait()
    waker._waiter_class = usual

    # native threads wake at any time
    start_native = get_original("_thread", "start_new_thread")
    native_sleep = get_original("time", "sleep")
    rounds, answered = 500, []

    def native():
        for number in range(rounds):
            while len(answered) < number:
                native_sleep(0)
            waker.wake()

    start_native(native, ())
    with gevent.Timeout(30, AssertionError(f"a wake was lost after {len(answered)} rounds")):
        for number in range(rounds):
            waker.wait()
            answered.append(number)

    # and a native thread may wait in a gevent hub of its own
    def in_its_own_hub():
        waker.wait(90)
        return gevent.get_hub()

    waiting = gevent.get_hub().threadpool.spawn(in_its_own_hub)
    while waker._waiter is None:
        gevent.sleep(0.001)
    began = time.monotonic()
    waker.wake()
    assert waiting.get(timeout=60) is not gevent.get_hub()
    assert time.monotonic() - began < 45
    print("done")
"""


def test_greenlets() -> None:
    assert gevent_run(GREENLETS).endswith("done\n")
