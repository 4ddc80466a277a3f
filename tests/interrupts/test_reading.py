"""Readers that are interrupted, and readers whose publishers are: every event comes, and comes once."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from sse_bridge import Bridge, ByType, Event
from sse_bridge.streams import Grant, StreamRequest, stream_channels, stream_source
from sse_bridge.streams.channels.script import renderer
from sse_bridge.wire.sse import SSE_FORMAT
from tests.interrupts.checks import PATIENCE_SECONDS, Other, all_is_back, all_work
from tests.support.interrupting import interruptions
from tests.support.wait import wait_for

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

RETURNS = ("return", "next")  # the event is the caller's then; an exception right there exists in this test only


@pytest.mark.parametrize("filtered", [False, True])
def test_an_interrupted_next_loses_no_event_and_gives_none_twice(bridge: Bridge, other: Other, filtered: bool) -> None:
    options: dict[str, Any] = {"filter": ByType("seen")} if filtered else {}
    with bridge.subscribe(["a", "b"], **options) as stream:
        assert stream.wait_ready(PATIENCE_SECONDS)
        for interruption in interruptions():
            number = interruption.number
            publish = partial(bridge.publish, "ab"[number % 2])
            other.do(partial(publish, -1, type="hidden"))
            other.do(partial(publish, number, type="seen"))
            wanted = [number] if filtered else [-1, number]
            got: list[Any] = []

            def take() -> None:
                nonlocal got
                while len(got) < len(wanted):  # noqa: B023
                    event = stream.next(PATIENCE_SECONDS)
                    got += [event]  # no call behind the library's, which might be interrupted

            if interruption.run(take) and interruption.raised_at == RETURNS:
                wanted.pop(len(got))
            take()
            assert [event and event.data for event in got] == wanted, interruption
        assert stream.next(0) is None
        position = stream.id
    assert [event.data for event in bridge.history("a", after=position)] == []
    all_is_back(bridge)


def test_a_reader_sees_all_that_interrupted_publishers_stored(bridge: Bridge, other: Other) -> None:
    with bridge.subscribe("a") as stream:
        assert stream.wait_ready(PATIENCE_SECONDS)
        returned: list[Any] = []
        for interruption in interruptions():
            number = interruption.number

            def publish() -> None:
                nonlocal returned
                returned += [bridge.publish("a", number)]  # noqa: B023

            interruption.run(publish)
        bridge.publish("a", "last")
        stored = bridge.history("a", limit=10_000)
        numbers = [event.data for event in stored]
        assert len(numbers) == len(set(numbers))
        assert {str(position) for position in returned} <= {event.id for event in stored}
        assert [event.position.offset for event in stored if event.position] == list(range(1, len(stored) + 1))
        seen: list[Event] = []
        while not seen or seen[-1].data != "last":
            event = other.do(lambda: stream.next(PATIENCE_SECONDS))
            assert event is not None, numbers[len(seen) :]
            seen.append(event)
        assert [event.id for event in seen] == [event.id for event in stored]


def test_an_interrupted_body_gives_back_its_room_and_its_lease(make_bridge: Any, other: Other) -> None:
    bridge = make_bridge(max_streams=2, max_streams_per_user=2, over_limit="reject")
    bridge.publish("a", "here")

    def serve() -> bytes:
        body = stream_channels(bridge, "a", StreamRequest(), start="earliest", grant=Grant("ann")).bodies.sync_body()
        try:
            frames = next(body)
            while b"here" not in frames and b"stream.close" not in frames:
                frames += next(body)
        finally:
            body.close()
        return frames

    for interruption in interruptions():
        interruption.run(serve)
        wait_for(lambda: len(bridge.streams) == 0, what=f"the room, {interruption}")
        all_work(bridge, other, interruption)
    wait_for(lambda: b"here" in serve(), what="both leases to be free")
    all_is_back(bridge)


class Socket:
    """Takes everything."""

    def push(self, data: bytes) -> bool:
        return bool(data)

    def finish(self) -> None:
        """Nothing to end."""


def test_a_reader_that_is_interrupted_on_its_way_into_a_cohort_or_out_is_in_none(bridge: Bridge, other: Other) -> None:
    for interruption in interruptions():
        with bridge.subscribe("a") as stream:
            assert stream.wait_ready(PATIENCE_SECONDS)
            assert stream.next(0) is None
            reader = stream._reader

            def together() -> None:
                reader.join_shared(Socket(), renderer(SSE_FORMAT))  # noqa: B023
                bridge.publish("a", 1)
                reader.alone(lambda wrote_at: True)  # noqa: B023

            interruption.run(together)
        wait_for(lambda: bridge.thread_hub().readers() == 0, what=f"the reader to leave, {interruption}")
        assert not bridge.thread_hub().state.readers(), interruption
        all_work(bridge, other, interruption)
    all_is_back(bridge)


def test_an_interrupted_body_of_an_iterable_gives_back_its_room_and_its_lease(make_bridge: Any, other: Other) -> None:
    bridge = make_bridge(max_streams=2, max_streams_per_user=2, over_limit="reject")
    for interruption in interruptions():

        def serve() -> None:
            answer = stream_source(bridge, iter([1, 2, 3]), StreamRequest(), grant=Grant("ann"))
            body = answer.bodies.sync_body()
            try:
                next(body), next(body)
            finally:
                body.close()

        interruption.run(serve)
        wait_for(lambda: len(bridge.streams) == 0, what=f"the room, {interruption}")
        all_work(bridge, other, interruption)
    all_is_back(bridge)
