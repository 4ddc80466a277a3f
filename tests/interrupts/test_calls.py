"""Every public call on threads is interrupted at each of its points: nothing stays locked, taken or registered."""

from __future__ import annotations

import pytest

from sse_bridge import Bridge
from tests.interrupts.calls import CALLS
from tests.interrupts.checks import PATIENCE_SECONDS, Other, all_is_back, all_work
from tests.support.interrupting import interruptions

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # of what redis-py had in hand when it was interrupted


@pytest.mark.parametrize("name", CALLS)
def test_an_interrupted_call_leaves_nothing_behind(name: str, bridge: Bridge, other: Other) -> None:
    call = CALLS[name]
    bridge.publish("a", 0)
    for interruption in interruptions(call.least, call.step):
        interruption.run(lambda: call.run(bridge))
        all_work(bridge, other, interruption)
    all_is_back(bridge)


def test_an_interrupted_subscription_leaves_nothing_behind(bridge: Bridge, other: Other) -> None:
    bridge.publish("a", 0)

    def follow() -> None:
        with bridge.subscribe("a", after="earliest") as stream:
            assert stream.wait_ready(PATIENCE_SECONDS)
            assert stream.next(PATIENCE_SECONDS) is not None
            stream.next(0)

    for interruption in interruptions():
        interruption.run(follow)
        all_work(bridge, other, interruption)
    all_is_back(bridge)
