"""Members come among shared readers and leave it at any moment, also while all of them are behind: each gets every
event once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sse_bridge.config import Settings
from sse_bridge.follow.subscribe_request import make_request
from sse_bridge.hub.shared_readers import AllSharedReaders, SharedReaders
from sse_bridge.hub.state import HubState
from sse_bridge.hub.windows import WindowBudget
from sse_bridge.records.codec import parse_id
from sse_bridge.streams.channels.script import payload, renderer
from sse_bridge.testing.parser import SSEParser
from sse_bridge.wire.sse import SSE_FORMAT
from tests.follow import model
from tests.follow.model import T0, Broker, announce
from tests.follow.stage import subscribe

CHANNELS = list("abcdefgh")  # an id is longer than what a frame is reckoned with in a page
SETTINGS = Settings(replay_size=model.SETTINGS.replay_size, window_bytes=4096, max_write_bytes=4096)


class Member:
    """A reader and its connection, which may take no more for a while."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.shared: SharedReaders | None = None
        self.full = False
        self.written = b""
        self.follower = stage.state.follower(make_request(SETTINGS, CHANNELS))
        stage.state.join(self)

    def wake(self) -> None:
        pass

    def push(self, data: bytes) -> bool:
        self.written += data
        return not self.full

    def finish(self) -> None:
        raise AssertionError("no channel ends here")

    def pull(self) -> None:
        """One write, if it is alone and something is there; else it joins those in the same place."""
        if self.shared is not None or not self.stage.state.ready(self.follower):
            return
        batch = self.stage.state.pull(self.follower, SETTINGS.max_write_bytes)
        if batch is not None:
            self.written += payload(SSE_FORMAT, batch)
        elif not self.full:
            self.stage.shared_readers.join(self, self, renderer(SSE_FORMAT))

    def seen(self) -> list[str]:
        """The last id's channel and offset of each event, in the order of their arrival; or a gap's type."""
        found, before = [], dict.fromkeys(CHANNELS, 0)
        for event in SSEParser().feed(self.written):
            positions = [position.offset for position in (parse_id(event.id) or {}).values()]
            moved = [name for name, offset in zip(CHANNELS, positions, strict=True) if offset != before[name]]
            before = dict(zip(CHANNELS, positions, strict=True))
            found.append(event.event if event.event.startswith("stream.") else f"{moved} {before[moved[0]]}")
        return found


class Stage:
    """A broker, and a hub whose windows may hold nothing."""

    def __init__(self, members: int, windows_bytes: int) -> None:
        self.broker = Broker()
        self.state = HubState(SETTINGS, budget=WindowBudget(windows_bytes))
        self.shared_readers = AllSharedReaders(self.state, SETTINGS.max_write_bytes, self._fail)
        self.members = [Member(self) for _ in range(members)]
        for channel in subscribe(self.state):
            self.state.confirmed(channel)
        self.settle()

    def _fail(self, reader: Member) -> None:
        raise AssertionError(f"{reader} was closed")

    def publish(self, count: int, size: int, *, heard: bool) -> None:
        for channel in CHANNELS:
            log = self.broker.log(channel)
            entries = [log.append(size=size) for _ in range(count)]
            if heard:
                announce(self.state, channel, log, entries)
        if not heard:  # the link was away for a moment
            self.state.lost(None)
            for channel in CHANNELS:
                self.state.confirmed(channel)
        self.told()

    def told(self) -> None:
        for reader in self.state.changed():
            reader.wake()

    def read(self) -> bool:
        """All reads of a round trip, as a hub does them."""
        due = self.state.reads(T0)
        for feed, request in due:
            self.state.resolved(feed, self.broker.log(feed.channel).read(request))
        self.told()
        return bool(due)

    def settle(self) -> None:
        idle = 0
        for _ in range(1000):
            before = [len(member.written) for member in self.members]
            for member in self.members:
                member.pull()
            if self.read() or before != [len(member.written) for member in self.members]:
                idle = 0
            elif (idle := idle + 1) == 3:  # who is alone and finds nothing asks for a read, or joins
                return
        raise AssertionError("it never comes to an end")


@settings(max_examples=60, deadline=None)
@given(
    members=st.integers(2, 3),
    windows_bytes=st.sampled_from([0, 2000, 10**9]),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["publish", "publish", "miss", "read", "read", "pull", "pull", "full", "free", "settle"]),
            st.integers(1, 8),
        ),
        max_size=25,
    ),
)
def test_each_member_gets_every_event_once(members: int, windows_bytes: int, steps: list[tuple[str, int]]) -> None:
    stage = Stage(members, windows_bytes)
    published = 0
    for step, number in steps:
        member = stage.members[number % members]
        if step in ("publish", "miss"):
            if published + number <= SETTINGS.replay_size:  # nothing is trimmed
                published += number
                stage.publish(number, 10 * number, heard=step == "publish")
        elif step in ("full", "free"):
            member.full = step == "full"
        elif step == "pull":
            member.pull()
        elif step == "read":
            stage.read()
        else:
            stage.settle()
    stage.settle()
    for member in stage.members:
        for channel in CHANNELS:
            own = [seen for seen in member.seen() if seen.startswith(f"['{channel}']")]
            assert own == [f"['{channel}'] {offset + 1}" for offset in range(published)]
        assert len(member.seen()) == published * len(CHANNELS)


def test_two_that_leave_together_while_they_read_the_log() -> None:
    """The group keeps more of a page than one write takes, and disbands in the middle of it."""
    stage = Stage(2, 0)
    stage.publish(1, 0, heard=True)
    stage.settle()
    assert stage.members[0].shared is stage.members[1].shared is not None
    for member in stage.members:
        member.full = True
    stage.publish(12, 0, heard=False)
    stage.settle()
    for member in stage.members:
        assert [seen for seen in member.seen() if seen.startswith("stream.")] == []
        assert len(member.seen()) == 13 * len(CHANNELS)
