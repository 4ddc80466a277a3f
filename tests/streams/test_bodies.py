"""Bodies that follow channels: one test body over both colours, memory and Redis; frames are read by a strict parser."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sse_bridge import Bridge, ByVisibility
from sse_bridge.errors import InvalidChannel, NotAcceptable
from sse_bridge.streams import Grant, StreamRequest, confirm_end, stream_channels
from tests.support.sse_parser import parse
from tests.support.wait import wait_for


class Side:
    """A bridge whose bodies are pulled piece by piece, in one colour."""

    def __init__(self, make: Callable[..., Bridge], asynchronous: bool) -> None:
        self.make = make
        self.asynchronous = asynchronous
        self.loop = asyncio.new_event_loop() if asynchronous else None
        self.bridge = make()

    def restart(self, **settings: Any) -> None:
        self.close()
        self.loop = asyncio.new_event_loop() if self.asynchronous else None
        self.bridge = self.make(**settings)

    def run(self, awaitable: Any) -> Any:
        async def body() -> Any:
            return await awaitable

        assert self.loop is not None
        return self.loop.run_until_complete(body())

    def publish(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self.bridge.apublish(*args, **kwargs)) if self.loop else self.bridge.publish(*args, **kwargs)

    def end(self, channel: str) -> Any:
        return self.run(self.bridge.aclose_channel(channel)) if self.loop else self.bridge.close_channel(channel)

    def body(self, channels: Any, request: StreamRequest | None = None, **options: Any) -> Body:
        response = stream_channels(self.bridge, channels, request or StreamRequest(), **options)
        assert response.status == 200
        assert response.bodies is not None
        bodies = response.bodies
        return Body(self, bodies.async_body() if self.asynchronous else bodies.sync_body())

    def readers(self) -> int:
        hub = self.bridge._thread_hub
        if self.loop is not None:
            hub = self.bridge._loop_hubs.get(self.loop)
        return 0 if hub is None else hub.readers()

    def close(self) -> None:
        if self.loop is None:
            self.bridge.close()
        else:
            self.run(self.bridge.aclose())
            self.loop.close()


class Body:
    def __init__(self, side: Side, body: Any) -> None:
        self.side = side
        self.body = body

    def piece(self, seconds: float = 60) -> bytes:
        """The next write; raises StopIteration at the end."""
        if self.side.loop is None:
            return next(self.body)
        try:
            return self.side.run(asyncio.wait_for(anext(self.body), seconds))
        except StopAsyncIteration:
            raise StopIteration from None

    def pieces(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.piece())
            except StopIteration:
                return found

    def frames(self, count: int) -> list[Any]:
        """The next frames, at least `count`, from as many pieces as it takes."""
        found: list[Any] = []
        while len(found) < count:
            found += frames(self.piece())
        return found

    def close(self) -> None:
        self.body.close()


@pytest.fixture(params=["memory-sync", "memory-async", "redis-sync", "redis-async"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    kind, colour = request.param.split("-")
    url = "memory://" if kind == "memory" else request.getfixturevalue("redis_url")
    prefix = f"t{uuid.uuid4().hex[:12]}"

    def make(**settings: Any) -> Bridge:
        settings.setdefault("prefix", f"t{uuid.uuid4().hex[:12]}" if settings else prefix)
        return Bridge(url, **settings)

    side = Side(make, colour == "async")
    yield side
    side.close()


def frames(data: bytes) -> list[Any]:
    return parse(data)


def test_the_first_frame_is_open_with_an_id_to_resume_from(side: Side) -> None:
    body = side.body("a")
    first = body.piece()
    assert first.startswith(b"retry: ")
    (open_,) = frames(first)
    assert open_.event == "stream.open"
    assert open_.data == "{}"
    assert 2000 <= open_.retry <= 5000
    body.close()
    position = side.publish("a", 1)
    again = side.body("a", StreamRequest(last_event_id=open_.id))
    opened, event = again.frames(2)
    assert opened.id == open_.id
    assert (event.id, event.data) == (str(position), "1")
    again.close()


def test_everything_pending_goes_out_in_one_write(side: Side) -> None:
    body = side.body("a")
    body.piece()
    for n in range(50):
        side.publish("a", n)
    got = body.frames(50)
    assert [frame.data for frame in got] == [str(n) for n in range(50)]
    body.close()


def test_writes_are_bounded_and_of_whole_frames(side: Side) -> None:
    for _ in range(40):
        side.publish("a", "x" * 10_000)
    body = side.body("a", start="earliest")
    pieces = [body.piece()]
    while sum(len(frames(piece)) for piece in pieces) < 41:
        pieces.append(body.piece())
    assert all(len(piece) <= 65_536 + 200 for piece in pieces)  # the open frame comes on top of the first
    assert all(piece.endswith(b"\n\n") for piece in pieces)
    body.close()


def test_heartbeats_are_one_comment_line(side: Side) -> None:
    side.restart(heartbeat_seconds=0.05)
    body = side.body("a")
    body.piece()
    assert body.piece() == b":\n"
    side.publish("a", 1)
    assert body.frames(1)[0].data == "1"
    body.close()


def test_hidden_entries_move_the_position(side: Side) -> None:
    side.restart(heartbeat_seconds=0.05, replay_size=40)
    body = side.body("a")
    opened = frames(body.piece())[0]
    hidden = side.publish("a", 1, visibility="internal_only")
    (note,) = body.frames(1)
    assert (note.event, note.id) == ("stream.position", str(hidden))
    assert note.id != opened.id
    for n in range(12):  # more than replay_size / 4
        hidden = side.publish("a", n, visibility="model_only")
    assert body.frames(1)[-1].event == "stream.position"
    body.close()


def test_events_that_are_not_for_browsers_need_a_trusted_filter(side: Side) -> None:
    side.publish("a", "secret", visibility="internal_only")
    side.publish("a", "thought", visibility="model_only")
    side.publish("a", "hello")
    body = side.body("a", start="earliest")
    assert [frame.data for frame in body.frames(2)[1:]] == ['"hello"']
    body.close()
    trusted = side.body("a", start="earliest", grant=Grant(filter=ByVisibility("model_only")))
    assert [frame.data for frame in trusted.frames(2)[1:]] == ['"thought"']
    trusted.close()


def test_the_end_and_204(side: Side) -> None:
    side.publish("a", 1)
    side.end("a")
    body = side.body(["a"], start="earliest")
    got = frames(b"".join(body.pieces()))
    assert [frame.event for frame in got] == ["stream.open", "message", "stream.end"]
    assert stream_channels(side.bridge, "a", StreamRequest(last_event_id=got[-1].id)).status == 204
    assert stream_channels(side.bridge, "a", StreamRequest(last_event_id=got[-2].id)).status == 200
    assert stream_channels(side.bridge, ["a", "b"], StreamRequest(last_event_id=got[-1].id)).status == 200
    behind = side.body("a", StreamRequest(last_event_id=got[1].id))
    assert [frame.event for frame in frames(b"".join(behind.pieces()))] == ["stream.open", "stream.end"]
    ended = stream_channels(side.bridge, "a", StreamRequest(last_event_id=got[-1].id))
    assert confirm_end(ended) is ended
    assert side.readers() == 0
    late = side.body("a")
    late_frames = frames(b"".join(late.pieces()))
    assert [frame.event for frame in late_frames] == ["stream.open", "stream.end"]
    assert stream_channels(side.bridge, "a", StreamRequest(last_event_id=late_frames[-1].id)).status == 204


def test_an_end_is_believed_while_the_log_is_closed_there(side: Side) -> None:
    position = side.publish("a", 1)
    response = stream_channels(side.bridge, "a", StreamRequest(last_event_id=f"{position}-e"))
    assert response.status == 204, "whoever cannot ask the log believes the id"
    stream = confirm_end(response)
    assert stream is response.otherwise
    assert stream.bodies is not None
    body = Body(side, stream.bodies.async_body() if side.asynchronous else stream.bodies.sync_body())
    opened = body.frames(1)[0]
    assert opened.id == str(position)
    side.publish("a", 2)
    assert body.frames(1)[0].data == "2"
    body.close()


def test_one_ended_channel_does_not_end_the_stream(side: Side) -> None:
    side.end("a")
    body = side.body(["a", "b"])
    assert [frame.event for frame in body.frames(2)] == ["stream.open", "stream.end"]
    side.publish("b", 1)
    (event,) = body.frames(1)
    assert event.data == "1"
    body.close()
    side.end("b")
    again = side.body(["a", "b"], StreamRequest(last_event_id=event.id))
    got = frames(b"".join(again.pieces()))
    assert [frame.event for frame in got] == ["stream.open", "stream.end"]
    assert stream_channels(side.bridge, ["a", "b"], StreamRequest(last_event_id=got[-1].id)).status == 204


def test_a_bad_id_is_told_and_not_committed_before_the_gap(side: Side) -> None:
    side.publish("a", 1)
    body = side.body("a", StreamRequest(last_event_id="12345"))
    opened, gap = body.frames(2)
    assert opened.id in (None, "")
    assert gap.event == "stream.gap"
    assert '"reason":"invalid"' in gap.data
    body.close()
    again = side.body("a", StreamRequest(last_event_id=gap.id))
    assert [frame.event for frame in again.frames(1)] == ["stream.open"]
    again.close()


def test_a_cut_between_two_gaps_loses_neither(side: Side) -> None:
    """An id that says nothing of a channel would let it begin anew there, and nobody would be told."""
    names = ["a", "b", "c"]
    for name in names:
        side.publish(name, 1)
    body = side.body(names, StreamRequest(last_event_id="12345"))
    opened, *gaps = body.frames(4)
    body.close()
    assert [gap.event for gap in gaps] == ["stream.gap"] * 3
    assert [bool(frame.id) for frame in (opened, *gaps)] == [False, False, False, True]
    side.publish("b", 2)  # while it is away
    cut = side.body(names, StreamRequest(last_event_id="12345"))  # between the gaps: it has no other id yet
    assert [frame.event for frame in cut.frames(4)[1:]] == ["stream.gap"] * 3
    cut.close()
    again = side.body(names, StreamRequest(last_event_id=gaps[-1].id))
    assert [(frame.event, frame.data) for frame in again.frames(2)] == [("stream.open", "{}"), ("message", "2")]
    again.close()


def test_the_open_frame_of_a_resume_never_stands_behind_a_gap(side: Side) -> None:
    side.restart(replay_size=5)
    first = side.publish("a", 0)
    for n in range(1, 60):
        side.publish("a", n)
    body = side.body("a", StreamRequest(last_event_id=str(first)))
    opened, gap, *rest = body.frames(4)
    assert opened.id == str(first)
    assert gap.event == "stream.gap"
    assert '"reason":"trimmed"' in gap.data
    offsets = [int(frame.id.split("-")[2]) for frame in (gap, *rest)]
    assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
    body.close()


def test_lifetime_ends_with_a_retry_of_its_own(side: Side) -> None:
    side.restart(max_stream_seconds=0.05)
    body = side.body("a")
    *_, last = frames(b"".join(body.pieces()))
    assert last.event == "stream.close"
    assert last.data == '{"reason":"lifetime"}'
    assert last.retry >= 2000
    assert not last.own_id
    assert side.readers() == 0


def test_expiring_credentials_end_the_stream(side: Side) -> None:
    body = side.body("a", grant=Grant(user="u", expires_at=time.time() + 0.5))
    *_, last = frames(b"".join(body.pieces()))
    assert last.data == '{"reason":"expired"}'


def test_drain_ends_all_streams(side: Side) -> None:
    bodies = [side.body("a") for _ in range(5)]
    for body in bodies:
        body.piece()
    side.bridge.streams.begin_drain(0.05)
    for body in bodies:
        *_, last = frames(b"".join(body.pieces()))
        assert last.data == '{"reason":"drain"}'
    assert len(side.bridge.streams) == 0
    late = side.body("a")
    assert [frame.event for frame in frames(b"".join(late.pieces()))] == ["stream.open", "stream.close"]


def test_closing_gives_everything_back(side: Side) -> None:
    never_started = side.body("a")
    never_started.close()
    body = side.body("a")
    body.piece()
    assert side.readers() == 1
    assert len(side.bridge.streams) == 1
    body.close()
    body.close()
    wait_for(lambda: (side.run(asyncio.sleep(0)) if side.loop else None, side.readers() == 0)[1])
    assert len(side.bridge.streams) == 0
    assert body.pieces() == []
    assert never_started.pieces() == []


def test_a_body_that_nobody_closes_is_given_back(side: Side) -> None:
    body = side.body("a")
    body.piece()
    assert side.readers() == 1
    body.body = None
    wait_for(lambda: (side.run(asyncio.sleep(0)) if side.loop else None, side.readers() == 0)[1])


def test_a_body_of_a_closed_bridge_says_come_back(side: Side) -> None:
    body = side.body("a")
    if side.loop is None:
        side.bridge.close()
    else:
        side.run(side.bridge.aclose())
    (frame,) = frames(b"".join(body.pieces()))
    assert frame.event == "stream.close"
    assert frame.retry >= 2000


def test_a_broker_that_is_away_means_come_back_later(monkeypatch: pytest.MonkeyPatch, side: Side) -> None:
    if side.bridge.backend.name == "memory":
        return
    monkeypatch.setattr("sse_bridge.streams.lifecycle.opening.OPENING_SECONDS", 0.05)
    away = Bridge("redis://127.0.0.1:1/0", publish_timeout_seconds=0.2)
    mine, side.bridge = side.bridge, away
    try:
        got = frames(b"".join(side.body("a").pieces()))
        assert [frame.event for frame in got] == ["stream.close"]
        assert got[0].data == '{"reason":"unavailable"}'
        assert got[0].retry >= 2000
    finally:
        if side.loop is None:
            away.close()
        else:
            side.run(away.aclose())
        side.bridge = mine


def test_formats(side: Side) -> None:
    side.publish("a", {"n": 1}, type="t")
    ndjson = side.body("a", StreamRequest(accept="application/x-ndjson"), start="earliest")
    lines = ndjson.piece().split(b"\n")
    assert b'"data":{"n":1}' in lines[1]
    ndjson.close()
    text = side.body("a", StreamRequest(format="text"), start="earliest")
    assert b'{"n":1}' in text.piece()
    text.close()
    with pytest.raises(NotAcceptable):
        stream_channels(side.bridge, "a", StreamRequest(accept="image/png"))
    with pytest.raises(InvalidChannel):
        stream_channels(side.bridge, "a b", StreamRequest())
