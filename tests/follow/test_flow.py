"""`Follower.flow` delivers what `pull` does, and leaves the follower in the same place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.config import Settings
from sse_bridge.filters import ByVisibility
from sse_bridge.follow.follower import Follower
from sse_bridge.follow.subscribe_request import make_request
from sse_bridge.hub.state import HubState
from sse_bridge.streams.channels.script import payload, renderer
from sse_bridge.wire.sse import SSE_FORMAT
from tests.follow.model import SETTINGS, Broker, announce, settle
from tests.follow.stage import subscribe

ENTRY = renderer(SSE_FORMAT).entry
STEPS = st.lists(
    st.sampled_from(["one", "hidden", "three", "big", "ephemeral", "hole", "flush", "trim", "lost", "look", "end"]),
    min_size=1,
    max_size=25,
)


def drained(state: HubState, follower: Follower, max_bytes: int, *, flows: bool) -> tuple[bytes, int]:
    """All that is there, as a group of shared readers takes it; and how many frames flowed."""
    taken, flowed = [], 0
    while True:
        frames = follower.flow(max_bytes, ENTRY) if flows else []
        if frames:
            flowed += len(frames)
            taken += frames
            continue
        batch = state.pull(follower, max_bytes, shared=False)
        if batch is None:
            return b"".join(taken), flowed
        taken.append(payload(SSE_FORMAT, batch))


@given(
    steps=STEPS,
    max_bytes=st.sampled_from([1, 500, 65_536]),
    filter=st.sampled_from([None, ByVisibility("user_facing", "live_ui_only")]),
    channels=st.integers(1, 2),
)
def test_it_is_what_pull_would_be(steps: list[str], max_bytes: int, filter: ByVisibility | None, channels: int) -> None:
    broker, state = Broker(), HubState(Settings(replay_size=SETTINGS.replay_size, window_bytes=4096))
    names = ["a", "b"][:channels]
    log = broker.log("a")
    broker.log("b")
    followers = [state.follower(make_request(SETTINGS, names, filter=filter)) for _ in range(2)]
    for name in subscribe(state):
        state.confirmed(name)
    settle(broker, state, [])

    def look() -> None:
        for _ in range(3):  # a read may lead to another one
            state.changed()
            seen = [
                drained(state, one, max_bytes, flows=flows)[0]
                for one, flows in zip(followers, (True, False), strict=True)
            ]
            assert seen[0] == seen[1]
            assert followers[0].id() == followers[1].id()
            assert followers[0].state == followers[1].state
            assert followers[0].hidden == followers[1].hidden
            assert followers[0].waits == followers[1].waits
            settle(broker, state, [])

    look()
    for step in steps:
        log = broker.log("a")
        if step == "ephemeral":
            announce(state, "a", log, [log.ephemeral()])
        elif step == "flush":
            broker.flush("a")
            state.check_some(0.0)
        elif step == "trim":
            log.trim(3)
        elif step == "lost":
            state.lost(None)
            state.confirmed("a")
        elif step == "look":
            look()
        elif not log.closed:
            made = {
                "hidden": lambda log=log: [log.append(visibility="m")],
                "three": lambda log=log: [log.append(), log.append(visibility="m"), log.append()],
                "big": lambda log=log: [log.append(size=3000)],
                "end": lambda log=log: [log.append("stream.end")],
            }.get(step, lambda log=log: [log.append()])()
            announce(state, "a", log, made, with_copy=step != "hole")
    look()


def test_live_entries_flow() -> None:
    broker, state = Broker(), HubState(SETTINGS)
    follower = state.follower(make_request(SETTINGS, "a"))
    state.confirmed(*subscribe(state))
    log = broker.log("a")
    assert not state.ready(follower)
    settle(broker, state, [])
    assert drained(state, follower, 1000, flows=True) == (b"", 0)
    announce(state, "a", log, [log.append(), log.append()])
    data, flowed = drained(state, follower, 1000, flows=True)
    assert (data.count(b"data: "), flowed) == (2, 2)
