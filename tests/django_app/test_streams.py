"""`event_stream` from sync and async views, under WSGI and ASGI servers, over memory and Redis."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.django_app.conftest import Site, one_of_each, without_broker
from tests.support.http_stream import HTTPStream
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for


def data(frames: list) -> list[str]:
    return [frame.data for frame in frames]


def test_events_arrive_as_they_are_published(site: Site, channel: str, view: str) -> None:
    # GZipMiddleware is on, and would hold thousands of such small events back
    with SSEClient(f"{site.url}/{view}/{channel}/", {"Accept-Encoding": "gzip"}) as client:
        assert client.status == 200, client.response.read_all()
        assert client.next().event == "stream.open"
        if not site.asgi:
            wait_for(lambda: site.held()["pushed"] == 1, what="the hub to write to gunicorn's socket")
        for number in range(4):
            [id] = site.publish(channel, {"n": number})
            [frame] = client.take(1)
            assert (frame.data, frame.id, frame.event) == (f'{{"n":{number}}}', id, "message")


@without_broker
def test_headers_are_the_stream_s_and_the_view_s(site: Site, channel: str, view: str) -> None:
    with SSEClient(f"{site.url}/{view}/{channel}/", {"Accept-Encoding": "gzip"}) as client:
        headers = client.headers
        assert headers["content-type"] == "text/event-stream"
        assert headers["cache-control"] == "no-cache, no-transform"
        assert headers["x-accel-buffering"] == "no"
        assert headers.get("content-encoding", "identity") == "identity"
        assert headers["x-view"] == view
        assert headers["set-cookie"].startswith("seen=yes")
        assert "content-length" not in headers
        assert "etag" not in headers
        assert "x-sse-bridge-handoff" not in headers


def test_a_reader_resumes_after_its_last_event(site: Site, channel: str, view: str) -> None:
    url = f"{site.url}/{view}/{channel}/"
    with SSEClient(url) as client:
        client.take(1)
        site.publish(channel, 1, 2, 3)
        assert data(client.take(2)) == ["1", "2"]
        last = client.frames[2].id  # the third may have come along with the second
    site.publish(channel, 4, 5)
    with SSEClient(url, last_event_id=last) as client:
        assert data(client.take(4)) == ["{}", "3", "4", "5"]
    for name in ("after", "lastEventId", "Last-Event-ID"):
        with SSEClient(f"{url}?{name}={last}") as client:
            assert data(client.take(4)) == ["{}", "3", "4", "5"]
    with SSEClient(f"{url}?last=2") as client:
        assert data(client.take(3)) == ["{}", "4", "5"]
    with SSEClient(url, last_event_id="from-another-world") as client:
        assert [frame.event for frame in client.take(2)] == ["stream.open", "stream.gap"]


def test_a_page_and_its_stream_lose_nothing_in_between(site: Site, channel: str, view: str) -> None:
    site.publish(channel, "shown")
    page = httpx.get(f"{site.url}/page/{view}/{channel}/").text
    site.publish(channel, "between")
    [after] = re.findall(r'data-after="([\w.-]+)"', page)
    assert after.count(".") == 1
    with SSEClient(f"{site.url}/{view}/{channel}/?after={after}") as client:
        assert data(client.take(2)) == ["{}", '"between"']


def test_the_server_notices_that_a_reader_left(site: Site, channel: str, view: str) -> None:
    site.wait_until_released()
    clients = [SSEClient(f"{site.url}/{view}/{channel}/") for _ in range(3)]
    for client in clients:
        client.take(1)
    assert site.held()["readers"] == site.held()["streams"] == 3
    for client in clients:
        client.close()
    site.wait_until_released()


@without_broker
def test_a_reader_that_leaves_before_its_first_event_holds_nothing(site: Site, channel: str, view: str) -> None:
    for _ in range(5):
        HTTPStream(f"{site.url}/{view}/{channel}/").close()
    site.wait_until_released()


def test_after_the_end_the_client_is_told_to_stop(site: Site, channel: str, view: str) -> None:
    url = f"{site.url}/{view}/{channel}/"
    with SSEClient(url) as client:
        client.take(1)
        site.publish(channel, "last words")
        site.post(f"close/{channel}/")
        assert [frame.event for frame in client.rest()] == ["message", "stream.end"]
        assert client.ended == "complete"
    response = httpx.get(url, headers={"Last-Event-ID": client.last_event_id}, timeout=60)
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers
    site.wait_until_released()


def test_an_end_of_which_the_log_knows_nothing_is_none(site: Site, channel: str, view: str) -> None:
    """As after a failover that threw it away. An async view without the middleware can ask nobody before the status."""
    url = f"{site.url}/{view}/{channel}/"
    with SSEClient(f"{url}?after=earliest") as client:
        client.take(1)
        site.publish(channel, "seen")
        id = client.take(1)[0].id
    with SSEClient(url, last_event_id=f"{id}-e") as client:
        if view == "async" and not site.handoff:
            assert client.status == 204
        else:
            assert client.take(1)[0].event == "stream.open"
            site.publish(channel, "goes on")
            assert client.take(1)[0].data == '"goes on"'
    site.wait_until_released()


@without_broker
def test_head_says_the_headers_and_opens_nothing(site: Site, channel: str, view: str) -> None:
    site.wait_until_released()
    response = httpx.head(f"{site.url}/{view}/{channel}/", timeout=60)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert "content-length" not in response.headers
    assert "x-sse-bridge-handoff" not in response.headers
    assert site.held()["streams"] == 0


@one_of_each
def test_other_formats(site: Site, channel: str, view: str) -> None:
    with HTTPStream(f"{site.url}/{view}/{channel}/?format=ndjson&after=earliest") as stream:
        assert stream.headers["content-type"].startswith("application/x-ndjson")
        site.publish(channel, {"n": 1})
        wait_for(lambda: b'"n":1' in (stream.read(5) or b""))


@without_broker
def test_two_hundred_kilobytes_come_whole(site: Site, channel: str, view: str) -> None:
    texts = [f"{number}:" + "ä" * 10_000 for number in range(10)]
    site.publish(channel, *texts)
    with SSEClient(f"{site.url}/{view}/{channel}/?after=earliest") as client:
        frames = client.take(11)[1:]
    assert data(frames) == [f'"{text}"' for text in texts]


@one_of_each
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("sync/-bad/", 400),
        ("async/-bad/", 400),
        ("sync/a/?last=x", 400),
        ("sync/a/?format=pictures", 406),
        ("orders/42/?last=x", 400),
        ("chosen/?token=ann", 400),
        ("chosen/?token=ann&last=x&channel=ann:1", 400),
        ("chosen/?channel=ann:1", 401),
        ("events/?channel=ann:1", 401),
        ("events/?channel=ann:1&channel=bob:1&token=ann", 403),
        ("events/?channel=ann:1&token=banned", 403),
        ("chosen/?channel=ann:1&token=bob", 403),
        ("chosen/?token=ann&channels=" + ",".join(f"ann:{number}" for number in range(21)), 400),
    ],
)
def test_refusals(site: Site, path: str, status: int) -> None:
    response = httpx.get(f"{site.url}/{path}", timeout=60)
    assert response.status_code == status, response.text
    assert "channel" in response.text or status in (401, 403, 406) or "last" in response.text
    assert response.text
    site.wait_until_released()


@one_of_each
def test_a_view_that_names_its_channels(site: Site) -> None:
    with SSEClient(f"{site.url}/orders/42/") as client:
        client.take(1)
        site.publish("orders:42", "mine")
        site.publish("orders:43", "not mine")
        site.publish("news", "everybody's")
        assert data(client.take(2)) == ['"mine"', '"everybody\'s"']
    assert httpx.post(f"{site.url}/orders/42/", timeout=60).status_code == 405


@one_of_each
@pytest.mark.parametrize("route", ["chosen", "events"])
def test_a_client_follows_the_channels_it_may(site: Site, channel: str, route: str) -> None:
    names = [f"{channel}:1", f"{channel}:2"]
    with SSEClient(f"{site.url}/{route}/?token={channel}&channel={names[0]}&channel={names[1]}") as client:
        client.take(1)
        site.publish(names[0], 1)
        site.publish(names[1], 2)
        assert data(client.take(2)) == ["1", "2"]


@one_of_each
def test_a_grant_widens_what_is_seen(site: Site, channel: str) -> None:
    with (
        SSEClient(f"{site.url}/events/?token={channel}&channel={channel}:1") as user,
        SSEClient(f"{site.url}/events/?token=staff&channel={channel}:1") as staff,
    ):
        user.take(1), staff.take(1)
        site.post(f"publish/{channel}:1/?visibility=internal_only", "secret")
        site.post(f"publish/{channel}:1/", "open")
        assert data(staff.take(2)) == ['"secret"', '"open"']
        # The secret moves the position, of which a heartbeat tells; a busy machine may be as slow as that.
        seen = next(frame for frame in iter(user.next, None) if frame.event != "stream.position")
        assert data([seen]) == ['"open"']


@without_broker
def test_what_middleware_does_to_the_body_is_done_to_every_event(site: Site, channel: str) -> None:
    if site.asgi:
        return  # there it wraps an async iterator, and nothing is written past one
    site.wait_until_released()
    with SSEClient(f"{site.url}/redacted/{channel}/") as client:
        client.take(1)
        for number in range(3):
            site.publish(channel, {"n": number})
            assert data(client.take(1)) == [f'{{"*":{number}}}']
        assert site.held()["pushed"] == 0


@without_broker
def test_no_database_connection_is_held_while_a_stream_is_open(site: Site, channel: str) -> None:
    wait_for(lambda: site.held()["opened"] == 0)
    with SSEClient(f"{site.url}/query/{channel}/") as client:
        client.take(1)
        assert site.held()["opened"] == 0


@one_of_each
def test_a_publish_waits_for_the_commit(site: Site, channel: str) -> None:
    with SSEClient(f"{site.url}/sync/{channel}/") as client:
        client.take(1)
        site.post(f"commit/{channel}/")
        assert data(client.take(2)) == ['"inside"', '"later"']
        site.post(f"commit/{channel}/?rollback=1")
        site.publish(channel, "end")
        assert data(client.take(2)) == ['"inside"', '"end"']


@one_of_each
def test_a_publish_that_fails_after_the_commit(site: Site, channel: str) -> None:
    with SSEClient(f"{site.url}/sync/{channel}/") as client:
        client.take(1)
        assert httpx.post(f"{site.url}/broken/{channel}/?kind=robust", timeout=60).status_code == 200
        assert data(client.take(1)) == ['"after the failure"']


@one_of_each
def test_a_wrapped_request(site: Site, channel: str) -> None:
    # Django REST framework gives views a request of its own, whose class says nothing about the handler
    with SSEClient(f"{site.url}/wrapped/{channel}/") as client:
        client.take(1)
        site.publish(channel, 1)
        assert data(client.take(1)) == ["1"]


def strict_body(url: str, ended: str) -> bytes:
    with HTTPStream(url, {"Accept": "application/json"}) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        body = b""
        while not stream.ended:
            body += stream.read(60) or b""
        assert stream.ended == ended
    return body


@without_broker
@pytest.mark.parametrize("what", ["channel", "source"])
def test_a_strict_client_gets_messages_and_nothing_else(site: Site, channel: str, view: str, what: str) -> None:
    site.publish(channel, {"n": 0})
    first = b'data: {"type":"message","n":0}' if what == "channel" else b'data: {"type":"count","data":0}'
    for query, ended in (("", "complete"), ("early=0.5&", "cut")):
        if what == "channel" and not query:
            continue  # it has no end of its own
        if query and site.server.kind == "daphne" and not site.handoff:
            continue  # Django alone cannot cut a response there: its client waits
        url = f"{site.url}/strict/{view}/{channel}/?{what}&format=ndjson&"
        body = strict_body(url + query, ended)
        if query and first not in body:  # on a loaded machine the credentials may expire before the first item
            body = strict_body(f"{url}early=3", ended)
        assert b"event:" not in body
        assert first in body
    if site.handoff or not site.asgi:  # Django alone has a server take the cut for the app's failure
        assert "IncompleteStream" not in site.server.output


@one_of_each
def test_a_view_class_names_its_format(site: Site, channel: str) -> None:
    [id] = site.publish(channel, {"n": 0})
    site.publish(channel, {"n": 1})
    with HTTPStream(f"{site.url}/strict/view/{channel}/", {"Last-Event-ID": id, "Accept": "text/plain"}) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        body = b""
        while b"\n\n" not in body:
            body += stream.read(60) or b""
    assert b'data: {"type":"message","n":1}\n\n' in body
