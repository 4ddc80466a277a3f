"""Which of its streams a view answers with, and in whose context: on every server, with and without hand-off."""

from __future__ import annotations

import httpx

from tests.django_app.conftest import Site, one_of_each, without_broker
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for


@without_broker
def test_of_several_streams_the_one_is_served_that_the_view_returns(site: Site, channel: str, view: str) -> None:
    site.publish(channel, "for everybody")
    site.publish(f"{channel}:private", "secret")
    url = f"{site.url}/two/{view}/{channel}/?which="
    for which, expected in (("public", "for everybody"), ("private", "secret")):
        with SSEClient(url + which) as client:
            assert [frame.data for frame in client.take(2)[1:]] == [f'"{expected}"']
    with SSEClient(f"{url}source") as client:
        assert b"an item" in b"".join(frame.data.encode() for frame in client.rest())
    site.wait_until_released()


@one_of_each
def test_an_answer_that_is_no_stream_passes(site: Site, channel: str, view: str) -> None:
    url = f"{site.url}/two/{view}/{channel}/?which="
    for which, status in (("error", 403), ("page", 200)):
        response = httpx.get(url + which, timeout=60)
        assert response.status_code == status
        assert "text/html" in response.headers["content-type"]
        assert "x-sse-bridge-handoff" not in response.headers
    assert httpx.get(f"{site.url}/replaced/{channel}/", timeout=60).text == "for maintenance"
    site.wait_until_released()


@one_of_each
def test_sources_that_are_not_served_are_closed(site: Site, channel: str, view: str) -> None:
    wait_for(lambda: site.held()["streams"] == 0)
    before = site.held()["sources"]
    url = f"{site.url}/source/{view}/held/"
    assert httpx.head(url, timeout=60).status_code == 200
    assert httpx.get(f"{url}?format=pictures", timeout=60).status_code == 406
    assert httpx.get(url, headers={"Last-Event-ID": "stream.end"}, timeout=60).status_code == 204
    with SSEClient(url) as client:
        client.rest()
    if site.handoff:  # elsewhere nobody knows what a view has made and forgotten, and the garbage collector ends it
        for which in ("public", "page", "error"):
            with SSEClient(f"{site.url}/two/{view}/{channel}/?which={which}"):
                pass
    wait_for(lambda: site.held()["sources"] <= before, what="every source closed")


@without_broker
def test_a_source_runs_in_its_view_s_context(site: Site, view: str) -> None:
    sources = ["visited", "avisited"]
    if site.server.kind == "gunicorn-gevent":
        sources.remove(
            "avisited"
        )  # an async source runs on a native thread there, where asgiref's locals are another's
    for source in sources:
        expected = '"de","Asia/Tokyo","r-7"'
        with SSEClient(f"{site.url}/source/{view}/{source}/?visitor=r-7") as client:
            seen = [frame.data for frame in client.rest() if frame.event == "seen"]
        assert seen == [f"[{expected}]" if source == "visited" else f"[{expected},[{expected}]]"]
        if not site.asgi:
            continue  # its threads serve many visitors; to tidy up between them is for the site's own middleware
        with SSEClient(f"{site.url}/source/{view}/{source}/") as client:
            assert "r-7" not in "".join(frame.data for frame in client.rest()), "another visitor's"
