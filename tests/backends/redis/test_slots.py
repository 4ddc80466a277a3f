"""Slots are counted by the objects that there are: whoever drops one in whatever way gives it back."""

from __future__ import annotations

import threading

from sse_bridge.backends.redis.slots import Slot, Slots


def test_a_slot_is_taken_as_long_as_it_is_referred_to() -> None:
    slots = Slots(2)
    first, second = slots.take(), slots.take()
    assert isinstance(first, Slot)
    assert second is not None
    assert slots.take() is None
    assert len(slots) == 2
    del first
    assert len(slots) == 1
    third = slots.take()
    assert third is not None
    assert slots.take() is None
    del second, third
    assert len(slots) == 0


def test_one_waiter_is_woken_for_each_that_is_given_back() -> None:
    slots = Slots(1)
    slot = slots.take()
    woken: list[int] = []
    queued = threading.Semaphore(0)

    def wait() -> None:
        room = slots.queue()
        queued.release()
        try:
            while (mine := slots.take()) is None:
                slots.wait(room, 10)
            woken.append(1)
            del mine
            slots.wake()
        finally:
            slots.leave(room)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
        queued.acquire(timeout=60)
    del slot
    slots.wake()
    for thread in threads:
        thread.join(60)
    assert woken == [1] * 3
    assert not slots.waiting
    slots.wake()  # nobody waits
