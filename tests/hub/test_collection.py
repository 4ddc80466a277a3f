"""The garbage collector runs wherever something is allocated, under our locks too, and there it ends users' generators."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sse_bridge import Bridge, Event, Where
from sse_bridge.runtime.locks import Turn, held, new_lock, refuse_within
from tests.support.wait import wait_for


def forgotten(make: Callable[[], Iterator[Any]]) -> None:
    """Leaves a suspended generator in a cycle that only the collector finds."""
    generator = make()
    next(generator)
    cycle: list[object] = [generator]
    cycle.append(cycle)


def publishing_at_its_end(bridge: Bridge) -> Iterator[int]:
    try:
        yield 1
    finally:
        bridge.publish("left", 1)


def collect_under(lock: Any) -> None:
    with lock:
        gc.collect()


def ends(work: Callable[[], object]) -> bool:
    """Whether it comes to its end at all."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(60)
    return not thread.is_alive()


@pytest.fixture
def collects() -> Iterator[None]:
    """Nothing is collected but where the test says so."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collects")
def test_under_the_hubs_lock_a_subscription_is_left_to_housekeeping() -> None:
    with Bridge("memory://") as bridge:

        def follow() -> Iterator[Event]:
            with bridge.subscribe("other", after="earliest") as stream:
                yield from stream

        bridge.publish("other", 0)
        with bridge.subscribe("news", filter=Where(lambda event: gc.collect() >= 0)) as news:
            news.wait_ready(60)
            hub = bridge.thread_hub()
            forgotten(follow)
            assert hub.readers() == 2
            bridge.publish("news", 1)
            got: list[object] = []
            assert ends(lambda: got.append(news.next(60))), "the pull waits for its own lock"
            assert got != [None]
            wait_for(lambda: hub.readers() == 1, what="the forgotten one to leave")


@pytest.mark.usefixtures("collects")
def test_under_the_backends_lock_so_is_one_that_blocks_publishers() -> None:
    with Bridge("memory://") as bridge:

        def follow() -> Iterator[Event]:
            with bridge.subscribe("other", after="earliest", policy="block", queue_size=1) as stream:
                yield from stream

        bridge.publish("other", 0)
        forgotten(follow)

        assert ends(lambda: collect_under(bridge.backend._lock))  # type: ignore[attr-defined]
        wait_for(lambda: bridge.thread_hub().readers() == 0, what="the forgotten one to leave")
        assert ends(lambda: [bridge.publish("other", n) for n in range(3)]), "it holds publishers up"


@pytest.mark.usefixtures("collects")
def test_a_publish_in_the_middle_of_a_publish_is_an_error_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(repr(what.exc_value)))
    with Bridge("memory://") as bridge:
        forgotten(lambda: publishing_at_its_end(bridge))

        assert ends(lambda: collect_under(bridge.backend._lock))  # type: ignore[attr-defined]
        assert len(told) == 1
        assert "the garbage collector ends just now" in told[0]
        assert bridge.publish("left", 2) is not None
        assert [event.data for event in bridge.history("left")] == [2]


@pytest.mark.usefixtures("collects")
def test_a_publish_in_the_middle_of_a_pass_is_stored_and_seen() -> None:
    with Bridge("memory://", check_seconds=1) as bridge, bridge.subscribe("left") as left:
        left.wait_ready(60)

        forgotten(lambda: publishing_at_its_end(bridge))

        assert ends(lambda: collect_under(bridge.thread_hub().lock))
        event = left.next(60)
        assert event is not None
        assert event.data == 1


def test_a_lock_is_held_by_one_who_does_not_get_it_twice() -> None:
    lock, other = new_lock(), new_lock()
    assert not held()
    with lock:
        assert held()
        with other:
            assert held()
        with pytest.raises(RuntimeError, match="already held by this thread"):
            refuse_within(lock)
        refuse_within(other)
        assert held()
        elsewhere: list[bool] = []
        assert ends(lambda: elsewhere.append(held()))
        assert elsewhere == [False]
    assert not held()
    refuse_within(lock)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_holds_nothing() -> None:
    read, write = os.pipe()
    with new_lock():
        pid = os.fork()
        if not pid:
            os.write(write, b"held" if held() else b"free")
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as answer:
        assert answer.read() == "free"


def test_a_turn_is_one_callers_and_comes_back_when_it_is_dropped() -> None:
    turns = Turn()
    turn = turns.take()
    assert turn is not None
    assert turns.take() is None
    turns.free += [turn]
    turn = turns.take()
    assert turns.take() is None
    del turn  # by who was interrupted
    turn = turns.take()
    assert turn is not None
    assert turns.take() is None
    cycle: list[object] = [turn]  # as an exception is in, which a variable of its own traceback holds
    cycle.append(cycle)
    del turn, cycle
    gc.collect()
    turn = turns.take()
    assert turn is not None
    assert turns.take() is None
    known = weakref.ref(turns)
    del turns, turn
    assert known() is None
