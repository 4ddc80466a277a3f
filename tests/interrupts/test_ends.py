"""What begins and what ends: the first use of a bridge, its close, the close of a reader, and the spool."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from typing_extensions import override

import sse_bridge
from sse_bridge import Bridge, DeadLetter, Visibility, draining
from sse_bridge.backends.base import Append, Appended
from sse_bridge.backends.memory import MemoryBackend
from sse_bridge.config import Settings
from sse_bridge.default import replace_default
from sse_bridge.errors import BackendUnavailable, SSEBridgeError
from sse_bridge.hub import threads
from sse_bridge.publishing.letters import encode_letter
from sse_bridge.publishing.publication import single
from sse_bridge.records.continuity import Page, ReadRequest
from sse_bridge.streams import StreamRequest, stream_channels
from tests.hub.scenarios import our_threads
from tests.interrupts.checks import PATIENCE_SECONDS, Other, all_is_back, all_work
from tests.support.interrupting import interruptions
from tests.support.wait import wait_for

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_an_interrupted_first_use_is_made_again(make_bridge: Callable[..., Bridge], other: Other) -> None:
    for interruption in interruptions(step=61):  # connecting is thousands of points of redis-py's
        with make_bridge() as bridge:
            interruption.run(lambda: bridge.publish("a", 1))
            all_work(bridge, other, interruption)


def test_an_interrupted_first_use_of_the_default_bridge_is_made_again(
    other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSE_BRIDGE_URL", "memory://")
    monkeypatch.setenv("SSE_BRIDGE_LINGER_SECONDS", "0")

    def first_use() -> None:
        sse_bridge.configure(None)
        sse_bridge.publish("a", 1)

    previous = replace_default(None)
    try:
        for interruption in interruptions(step=607):  # reading the environment is tens of thousands of points
            interruption.run(first_use)
            position, next_position = sse_bridge.publish("a", 2), other.do(lambda: sse_bridge.publish("a", 3))
            assert position, interruption
            assert next_position.offset == position.offset + 1, interruption  # both are of one bridge
            made = replace_default(None)
            assert made, interruption
            made.close()
    finally:
        replace_default(previous)


def test_an_interrupted_close_of_a_reader_is_finished(bridge: Bridge, other: Other) -> None:
    for interruption in interruptions():
        stream = bridge.subscribe("a")
        interruption.run(stream.close)
        del stream  # where not even the call of `close` began, its end closes it
        wait_for(lambda: bridge.thread_hub().readers() == 0, what=f"the reader to leave, {interruption}")
        all_work(bridge, other, interruption)
    all_is_back(bridge)


def test_a_close_of_a_bridge_that_was_interrupted_is_made_again(make_bridge: Callable[..., Bridge]) -> None:
    for interruption in interruptions(step=3):  # each waits for a tick of the housekeeping thread
        bridge = make_bridge()
        stream = bridge.subscribe("a")
        assert stream.wait_ready(PATIENCE_SECONDS)
        interruption.run(bridge.close)
        bridge.close()
        assert stream.next(0) is None
        assert stream.closed
        wait_for(lambda: not our_threads(), what=f"the threads to end, {interruption}")


def test_an_interrupted_drain_is_made_again(
    make_bridge: Callable[..., Bridge], other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "LAST_FRAMES_SECONDS", 0.0)  # no server has the last frames
    for interruption in interruptions(step=3):  # each waits for looks at the streams
        with make_bridge() as bridge:
            body = stream_channels(bridge, "a", StreamRequest()).bodies.sync_body()
            frames = next(body)
            rest = other.begin(lambda: b"".join(body))  # noqa: B023
            interruption.run(lambda: bridge.drain(0))
            assert bridge.drain(0), interruption
            frames += rest.result(PATIENCE_SECONDS)
            assert b"retry:" in frames, interruption
            assert bridge.streams.draining
            all_work(bridge, other, interruption)
    wait_for(lambda: not our_threads(), what="the threads to end")


@pytest.mark.parametrize("make_bridge", ["memory"], indirect=True)
def test_an_interrupted_reader_with_policy_block_holds_nobody_up(bridge: Bridge, other: Other) -> None:
    def follow() -> None:
        with bridge.subscribe("a", policy="block", queue_size=1) as stream:
            assert stream.wait_ready(PATIENCE_SECONDS)
            bridge.publish("a", 1)
            assert stream.next(PATIENCE_SECONDS) is not None

    for interruption in interruptions():
        interruption.run(follow)
        for number in range(3):
            other.do(lambda: bridge.publish("a", number))  # noqa: B023
    all_is_back(bridge)


def test_an_interrupted_resend_publishes_each_dead_letter_once(
    make_bridge: Callable[..., Bridge], other: Other
) -> None:
    bridge = make_bridge(on_unavailable="spool", replay_size=10_000)
    box = getattr(bridge.backend, "letter_box", None)
    died = 0

    def die() -> None:
        nonlocal died
        batch = single(bridge.settings, "a", died, None, Visibility.USER_FACING, True, None)
        letter = DeadLetter("a", "full", "away", time.time_ns() // 1_000_000, None, batch)
        if box is None:
            bridge.spool.letters.append(letter)
        else:
            box.put([encode_letter(letter)])
        died += 1

    for interruption in interruptions(step=2):
        die()
        die()
        interruption.run(bridge.resend_dead_letters)
        all_work(bridge, other, interruption)
        other.do(bridge.resend_dead_letters)
        assert bridge.dead_letters() == [], interruption
    numbers = [event.data for event in bridge.history("a", limit=10_000)]
    assert numbers == list(range(died))
    all_is_back(bridge)


class AsyncOnly:
    """A user's backend of one colour."""

    name = "async only"
    can_block = False

    def __init__(self) -> None:
        backend = MemoryBackend(Settings())
        self.aappend, self.aread, self.aupstream, self.aclose = (
            backend.aappend, backend.aread, backend.aupstream, backend.aclose,
        )  # fmt: skip


def test_calls_of_an_async_backend_are_interrupted_too(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "TICK_SECONDS", 0.02)
    with Bridge(backend=AsyncOnly(), linger_seconds=0) as bridge:  # type: ignore[arg-type]
        for interruption in interruptions():
            interruption.run(lambda: bridge.publish("a", 1))
            all_work(bridge, other, interruption)
        for interruption in interruptions():
            interruption.run(bridge.backend.close)
            assert bridge.publish("b", 1), interruption
            assert other.do(lambda: bridge.publish("b", 2)), interruption


class Away(MemoryBackend):
    """A broker that does not answer while it is away."""

    away = False

    @override
    def append(self, batch: Append) -> Appended:
        if self.away:
            raise BackendUnavailable("away")
        return super().append(batch)

    @override
    def read(self, requests: Sequence[ReadRequest]) -> list[Page | SSEBridgeError]:
        if self.away:
            raise BackendUnavailable("away")
        return super().read(requests)


@pytest.mark.parametrize("spool_max_events", [10_000, 10])
def test_an_interrupted_publish_into_the_spool_is_in_it_or_is_not(spool_max_events: int, other: Other) -> None:
    options: dict[str, Any] = {"on_unavailable": "spool", "spool_max_events": spool_max_events, "dead_letters_max": 5}
    backend = Away(Settings())
    with Bridge(backend=backend, **options) as bridge:
        backend.away = True
        for interruption in interruptions():
            interruption.run(lambda: bridge.publish("a", interruption.number))  # noqa: B023
            assert other.do(lambda: bridge.publish("b", 0)) is None
            spool = bridge.spool
            with bridge.backend._lock:  # type: ignore[attr-defined]
                letters = [letter for queue in spool._queues.values() for letter in queue.letters]
                assert spool.queued == len(letters), interruption
                assert spool.bytes == sum(letter.size for letter in letters), interruption
                assert spool.dead - spool.forgotten == len(spool.letters), interruption
        backend.away = False
        wait_for(lambda: bridge.spool.queued == 0, what="the flush")
        numbers = [event.data for event in bridge.history("a", limit=10_000)]
        assert numbers == sorted(set(numbers))
        wait_for(lambda: not our_threads(), what="the flusher to end")
