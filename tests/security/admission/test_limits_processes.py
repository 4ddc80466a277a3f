"""Streams per user over two real servers on one Redis: replaced, rejected, sent away, and given back by SIGKILL."""

from __future__ import annotations

import time

import pytest

from tests.security.admission.conftest import Sites, reason
from tests.support.requires import needs_redis7
from tests.support.wait import stays, wait_for

pytestmark = needs_redis7


@pytest.mark.parametrize("kinds", [("uvicorn", "gunicorn-gevent"), ("gunicorn-gevent", "gunicorn-gthread")])
def test_the_newest_stream_wins_over_processes(sites: Sites, kinds: tuple[str, str]) -> None:
    one, two = (sites.start(kind, max_streams_per_user=2) for kind in kinds)
    first, second = one.stream("a", "ada"), one.stream("a", "ada")
    other = one.stream("a", "bob")
    third = two.stream("a", "ada")
    frames = first.rest(20)
    assert [frame.event for frame in frames] == ["stream.close"]
    assert frames[0].data == '{"reason":"replaced"}'
    assert first.last_event_id.endswith(".replaced")
    back = two.request("a", "ada", last_event_id=first.last_event_id)
    assert back.status == 204  # an EventSource stops here, and throws nobody out
    bridge = sites.bridge()
    bridge.publish("a", "on")
    assert [client.take(1)[0].data for client in (second, third, other)] == ['"on"'] * 3


def test_who_wants_the_stream_back_takes_it_with_the_id_in_the_query(sites: Sites) -> None:
    site = sites.start("uvicorn", max_streams_per_user=1)
    bridge = sites.bridge()
    first = site.stream("a", "ada")
    bridge.publish("a", 1)
    first.take(1)
    second = site.stream("a", "ada")
    assert reason(first) == "replaced"
    bridge.publish("a", 2)
    again = site.stream("a", "ada", f"&after={first.last_event_id}")
    assert again.take(1)[0].data == "2"
    assert reason(second) == "replaced"


@pytest.mark.parametrize(
    ("kind", "over_limit", "status"),
    [("uvicorn", "reject", 429), pytest.param("gunicorn-gevent", "retry", 200, marks=pytest.mark.soak)],
)
def test_no_room_and_a_killed_server_gives_its_slots_back(
    sites: Sites, kind: str, over_limit: str, status: int
) -> None:
    one, two = (sites.start(each, max_streams_per_user=1, over_limit=over_limit) for each in ("uvicorn", kind))
    one.stream("a", "ada")
    refused = two.request("a", "ada")
    assert refused.status == status
    if status == 429:
        assert int(refused.headers["retry-after"]) > 0
    else:
        assert reason(refused) == "limit"
        assert refused.parser.retry is not None
    two.stream("a", "bob")
    one.server.process.kill()
    began = time.monotonic()

    def room() -> bool:
        client = two.request("a", "ada")
        frame = client.next(10) if client.status == 200 else None
        client.close()
        return frame is not None and frame.event == "stream.open"

    wait_for(room, 25, what="the slot of the killed server")
    assert 3 < time.monotonic() - began < 20  # by its owner's silence, not at once


@pytest.mark.parametrize("kind", ["uvicorn", "gunicorn-gevent"])
def test_a_client_that_leaves_gives_its_slot_back(sites: Sites, kind: str) -> None:
    site = sites.start(kind, max_streams_per_user=1, over_limit="retry")
    for _ in range(2):
        site.stream("a", "ada").close()
        wait_for(lambda: site.held() == 0, what="the stream to be noticed as gone")

        def opens() -> bool:
            client = site.request("a", "ada")
            frame = client.next(10)
            client.close()
            return frame is not None and frame.event == "stream.open"

        wait_for(opens)
        wait_for(lambda: site.held() == 0)


@pytest.mark.soak
def test_slots_outlive_the_silence_limit_while_their_process_lives(sites: Sites) -> None:
    one, two = (sites.start("uvicorn", max_streams_per_user=1, over_limit="reject") for _ in range(2))
    one.stream("a", "ada")
    one.server.process.pause()  # taken for dead …

    def gets_in() -> bool:
        client = two.request("a", "ada")
        client.close()
        return client.status == 200

    wait_for(gets_in, 25)
    wait_for(lambda: two.held() == 0)
    one.server.process.resume()  # … and back, with its stream: it is counted again
    wait_for(lambda: two.request("a", "ada").status == 429, 20)
    stays(lambda: two.request("a", "ada").status == 429, 0.5)
