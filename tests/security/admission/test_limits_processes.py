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
    frames = first.rest(60)
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


def test_a_killed_server_gives_its_slots_back(sites: Sites) -> None:
    killed = sites.start("uvicorn", max_streams_per_user=1)
    kinds = {"replace_oldest": "uvicorn", "reject": "uvicorn", "retry": "gunicorn-gevent"}
    each = {
        over_limit: sites.start(kind, max_streams_per_user=1, over_limit=over_limit)
        for over_limit, kind in kinds.items()
    }
    for user in each:
        killed.stream("a", user)
    rejected = each["reject"].request("a", "reject")
    assert rejected.status == 429
    assert int(rejected.headers["retry-after"]) > 0
    sent_away = each["retry"].request("a", "retry")
    assert reason(sent_away) == "limit"
    assert sent_away.parser.retry is not None
    for site in each.values():
        site.stream("a", "bob" if site is each["retry"] else None)
    killed.server.process.kill()
    began = time.monotonic()
    newest = each["replace_oldest"].stream("a", "replace_oldest")
    assert each["reject"].request("a", "reject").status == 429, "a dead process's stream counts until it is missed"

    def room(over_limit: str) -> bool:
        client = each[over_limit].request("a", over_limit)
        frame = client.next(60) if client.status == 200 else None
        client.close()
        return frame is not None and frame.event == "stream.open"

    for over_limit in ("reject", "retry"):
        wait_for(lambda over_limit=over_limit: room(over_limit), what=f"the slot of the killed server, {over_limit}")
        assert time.monotonic() - began > 3  # by its owner's silence, not at once
    # the end of the dead process's leases is not the end of the stream that took the place of one
    sites.bridge().publish("a", "on")
    assert newest.take(1)[0].data == '"on"'


@pytest.mark.parametrize("kind", ["uvicorn", "gunicorn-gevent"])
def test_a_client_that_leaves_gives_its_slot_back(sites: Sites, kind: str) -> None:
    site = sites.start(kind, max_streams_per_user=1, over_limit="retry")
    for _ in range(2):
        site.stream("a", "ada").close()
        wait_for(lambda: site.held() == 0, what="the stream to be noticed as gone")

        def opens() -> bool:
            client = site.request("a", "ada")
            frame = client.next(60)
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

    wait_for(gets_in)
    wait_for(lambda: two.held() == 0)
    one.server.process.resume()  # … and back, with its stream: it is counted again
    wait_for(lambda: two.request("a", "ada").status == 429)
    stays(lambda: two.request("a", "ada").status == 429, 0.5)
