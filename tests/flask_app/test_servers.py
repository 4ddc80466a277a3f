"""Streams and publishing under the servers that people run Flask on."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.flask_app.serving import SERVERS, Served, serving
from tests.support.http_stream import HTTPStream
from tests.support.redis_server import RedisServer
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for

PRODUCTION = ("gunicorn-gthread", "gunicorn-gevent")
STREAM_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")


def data(client: SSEClient, count: int) -> list[str]:
    return [frame.data for frame in client.take(count)]


def numbers(*wanted: int) -> list[str]:
    return [f'{{"n":{number}}}' for number in wanted]


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("flask", "memory"),
        ("waitress", "redis"),
        *((kind, where) for kind in PRODUCTION for where in ("memory", "redis")),
    ],
)
def test_a_stream_from_its_head_to_a_client_that_leaves(kind: str, where: str, request: pytest.FixtureRequest) -> None:
    url = "memory://" if where == "memory" else request.getfixturevalue("redis_url")
    with serving(kind, url) as server:
        client, other = server.stream("/events/a,b"), server.stream("/aevents/a")
        assert {name: client.headers.get(name) for name in STREAM_HEADERS} == STREAM_HEADERS
        pushed = 2 if kind in PRODUCTION else 0
        wait_for(lambda: server.fetch("/state")["pushed"] == pushed, what="the hub to write to gunicorn's sockets")
        assert "content-length" not in client.headers
        assert client.headers["set-cookie"].startswith("seen=yes")
        server.post("/publish/a?count=3")
        assert data(client, 3) == data(other, 3) == numbers(0, 1, 2)
        server.post("/apublish/b")
        assert data(client, 1) == numbers(0)
        last = client.last_event_id
        wait_for(lambda: client.read(0.1) or client.parser.comments, what="a heartbeat")
        client.close()
        other.close()
        server.wait_until_nothing_is_held()
        # call_on_close runs in passthrough mode too, after the stream has been given back
        wait_for(lambda: server.fetch("/state")["closed"] == ["a,b"])

        server.post("/publish/a?count=2&first=3")
        assert data(server.stream("/events/a,b", last_event_id=last), 2) == numbers(3, 4)
        assert data(server.stream(f"/events/a,b?after={last}"), 2) == numbers(3, 4)

        server.post("/close/a")
        ending = server.stream("/events/a", last_event_id=last)
        assert [frame.event for frame in ending.rest()] == ["number", "number", "stream.end"]
        assert ending.ended == "complete"
        assert server.request("/events/a", last_event_id=ending.last_event_id).status == 204


@pytest.mark.parametrize("kind", PRODUCTION)
def test_what_an_after_request_hook_does_to_the_body_is_done_to_every_event(kind: str) -> None:
    with serving(kind, "memory://") as server:
        client = server.stream("/redacted/a")
        for number in range(3):
            server.post(f"/publish/a?first={number}")
            assert data(client, 1) == [f'{{"*":{number}}}']
        assert server.fetch("/state")["pushed"] == 0


@pytest.mark.parametrize("kind", PRODUCTION)
def test_publishing_makes_no_loop_and_no_thread(kind: str, url: str) -> None:
    with serving(kind, url) as server:
        client = server.stream("/events/a")
        server.post("/publish/a")
        answer = server.post("/publish/a?count=200&first=1")
        assert answer["before"] == answer["after"], "threads and event loops before and after 200 publishes"
        assert answer["after"][1] == 0, "event loops since the start"
        assert answer["default"], "sse_bridge.publish means the app's bridge"
        assert data(client, 201) == numbers(*range(201))


def drain(server: Served, clients: list[SSEClient]) -> None:
    before = [client.last_event_id for client in clients]
    server.process.signal(signal.SIGTERM)
    for client, last in zip(clients, before, strict=True):
        frames = client.rest()
        assert client.ended == "complete", "the body has its proper end"
        assert [(frame.event, frame.data) for frame in frames] == [("stream.close", '{"reason":"drain"}')]
        assert frames[0].retry is not None
        assert client.last_event_id == last, "the client resumes where it was"


@pytest.mark.parametrize("kind", SERVERS)
def test_sigterm_ends_each_stream_with_a_last_frame(kind: str) -> None:
    with serving(kind, "memory://") as server:
        drain(server, [server.stream("/events/a") for _ in range(5)])
        code = server.process.wait(25)
        assert code == (0 if kind in PRODUCTION else -signal.SIGTERM), server.process.output


@pytest.mark.parametrize("kind", PRODUCTION)
def test_preloaded_workers_share_nothing_they_must_not(kind: str, redis_url: str) -> None:
    arguments = ["--preload", "--workers", "2", "--config", "python:tests.flask_app.gunicorn_preload"]
    with serving(kind, redis_url, arguments=arguments, WARM_UP="1") as server:
        clients: dict[str, SSEClient] = {}

        def both_workers() -> bool:
            client = server.stream("/events/a?after=earliest")
            if clients.setdefault(client.headers["x-pid"], client) is not client:
                client.close()
            return len(clients) == 2

        wait_for(both_workers, what="a stream on each worker")
        publishers = {str(server.post(f"/publish/a?first={number}")["pid"]) for number in range(20)}
        assert publishers <= set(clients)
        for client in clients.values():
            assert data(client, 21) == ['"before the fork"', *numbers(*range(20))]
        drain(server, list(clients.values()))
        assert server.process.wait(25) == 0


def test_a_hundred_greenlets_share_one_link(private_redis: Callable[..., RedisServer]) -> None:
    redis = private_redis()
    with serving("gunicorn-gevent", redis.url, SSE_BRIDGE_HEARTBEAT_SECONDS="15") as server:
        clients = [server.stream(f"/events/a,own:{number}") for number in range(100)]
        assert redis.command("CLIENT", "LIST", "TYPE", "pubsub").count(b"id=") == 1, "links to Redis"
        state = server.fetch("/state")
        ours = [name for name in state["threads"] if name.startswith("sse_bridge")]
        assert ours == ["sse_bridge-housekeeping", "sse_bridge-redis-upstream"]
        assert state["readers"] == 100
        server.post("/publish/a?count=20")
        for client in clients:
            assert data(client, 20) == numbers(*range(20))


def test_head_and_errors() -> None:
    with serving("gunicorn-gthread", "memory://") as server:
        with HTTPStream(server.url + "/events/a", method="HEAD") as answer:
            assert answer.status == 200
            assert answer.headers["content-type"] == "text/event-stream"
        refused = server.request("/events/a?last=x")
        assert refused.status == 400
        assert refused.headers["content-type"] == "application/problem+json"
        server.wait_until_nothing_is_held()


def test_a_source() -> None:
    with serving("gunicorn-gthread", "memory://") as server:
        client = server.stream("/source")
        frames = client.rest()
        assert [frame.data for frame in frames[:3]] == [f'{{"number":{n},"path":"/source"}}' for n in range(3)]
        assert frames[-1].event == "stream.end"
        assert server.request("/source", last_event_id=client.last_event_id).status == 204
