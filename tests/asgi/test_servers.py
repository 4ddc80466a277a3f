"""The same site on real servers, over memory and over Redis."""

from __future__ import annotations

import inspect
import json
import signal
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.http_stream import HTTPStream
from tests.support.requires import require
from tests.support.servers import Server, serve
from tests.support.sse_client import SSEClient, follow
from tests.support.wait import wait_for

KINDS = [
    ("uvicorn", "memory"),
    ("uvicorn", "redis"),
    ("hypercorn", "memory"),
    ("hypercorn", "redis"),
    ("daphne", "memory"),
    ("daphne", "redis"),
    ("granian", "memory"),
]
PING = b"\x81\x8f" + bytes(4) + b'{"type":"ping"}'  # a client's text message (RFC 6455, 5.2), masked with zeros


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def site(request: pytest.FixtureRequest) -> Iterator[Server]:
    kind, backend = request.param
    env = {"SSE_BRIDGE_URL": "memory://"}
    if backend == "redis":
        require("redis7")
        env["SSE_BRIDGE_URL"] = request.getfixturevalue("redis_url")
        env["SSE_BRIDGE_PREFIX"] = f"asgi-{uuid.uuid4().hex[:8]}"
    with serve(kind, "tests.apps.asgi_site:app", env=env) as server:
        yield server


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """One per test, since a server runs many."""
    return uuid.uuid4().hex


def get(site: Server, path: str) -> Any:
    with HTTPStream(f"{site.url}{path}", seconds=60) as response:
        body = response.read_all()
        assert response.status == 200, body
        return json.loads(body)


def publish(site: Server, channel: str, count: int = 1) -> list[str]:
    return get(site, f"/publish?channel={channel}&count={count}")


def held(site: Server) -> Any:
    return get(site, "/held")


def nothing_held(site: Server) -> None:
    wait_for(lambda: (held(site)["readers"], held(site)["streams"]) == (0, 0), what="everything given back")


def websocket(site: Server, path: str, **options: Any) -> ClientConnection:
    if "proxy" in inspect.signature(connect).parameters:  # from websockets 15
        options["proxy"] = None
    return connect(f"ws://{site.host}:{site.port}{path}", **options)


def test_stream_resume_end(site: Server, channel: str) -> None:
    url = f"{site.url}/events/?channel={channel}"
    with SSEClient(url) as client:
        assert client.status == 200
        opened = client.take(1)[0]
        assert opened.event == "stream.open"
        assert publish(site, channel, 3) == [frame.id for frame in client.take(3)]
        wait_for(lambda: client.read(1) and client.parser.comments, what="a heartbeat")
    publish(site, channel, 2)
    with SSEClient(url, last_event_id=opened.id) as client:
        assert [frame.data for frame in client.take(6)] == ["{}", "0", "1", "2", "0", "1"]
        end = get(site, f"/close?channel={channel}")
        assert client.rest()[-1].id == end
        assert client.ended == "complete"
    assert follow(url, lambda frames: False, last_event_id=end).finished
    nothing_held(site)


def test_refusals(site: Server) -> None:
    for path, status in (
        ("/events/?channel=forbidden", 403),
        ("/events/", 400),
        ("/events/?channel=a&format=xml", 406),
    ):
        with HTTPStream(f"{site.url}{path}") as response:
            assert json.loads(response.read_all())["status"] == status
            assert response.status == status
    with HTTPStream(f"{site.url}/events/?channel=a", method="HEAD") as response:
        assert (response.status, response.headers["content-type"]) == (200, "text/event-stream")


def test_leaving_gives_everything_back(site: Server, channel: str) -> None:
    url = f"{site.url}/events/?channel={channel}"
    with ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(SSEClient(url))
            client.take(1)
        # blocked in send on all but daphne, which has no backpressure
        slow = stack.enter_context(SSEClient(url, receive_buffer=4096))
        slow.take(1)
        assert held(site)["readers"] == 11
        publish(site, channel, 1000)
        client.take(1000, seconds=30)
    nothing_held(site)


def test_websocket(site: Server, channel: str) -> None:
    with websocket(site, f"/events/?channel={channel}", subprotocols=["sse-bridge.v1"]) as client:
        assert client.subprotocol == "sse-bridge.v1"
        opened = hear(client)
        assert opened["data"] == {"channels": [channel]}
        first = publish(site, channel, 2)[0]
        assert [hear(client)["data"] for _ in range(2)] == [0, 1]
        client.send(json.dumps({"type": "subscribe", "channels": [channel + ".b"]}))
        both = hear(client)
        assert both["data"] == {"channels": [channel, channel + ".b"]}
        client.send("nonsense")
        assert wait_message(client, "stream.error")["data"]["detail"] == {"status": 400}
        client.send('{"type":"ping"}')
        wait_message(client, "stream.pong")
        wait_message(client, "stream.heartbeat")
    publish(site, channel + ".b")
    with websocket(site, "/events") as client:
        client.send(json.dumps({"type": "subscribe", "channels": [channel, channel + ".b"], "after": both["id"]}))
        assert wait_message(client, "stream.open")["data"] == {"channels": [channel, channel + ".b"]}
        assert wait_message(client, "message")["channel"] == channel + ".b"
    with websocket(site, f"/events/?channel={channel}&after={first}") as client:
        assert wait_message(client, "message")["data"] == 1
        get(site, f"/close?channel={channel}")
        wait_message(client, "stream.end")
        with pytest.raises(ConnectionClosed):
            client.recv(60)
        assert client.close_code == 1000
    nothing_held(site)


def test_websocket_refused_and_cut(site: Server, channel: str) -> None:
    for path, origin in (("/events/?channel=forbidden", None), ("/events/", "https://evil.example")):
        with pytest.raises(InvalidStatus) as refused:
            websocket(site, path, origin=origin)
        assert refused.value.response.status_code == 403
    with websocket(site, f"/events/?channel={channel}", origin=site.url) as client:
        wait_message(client, "stream.open")
        client.socket.sendall(PING * 200)  # in one piece: no time passes for the server between two of them
        with pytest.raises(ConnectionClosed):
            while True:
                client.recv(60)
        assert client.close_code == 4429
    with websocket(site, f"/events/?channel={channel}") as client:
        wait_message(client, "stream.open")
        assert held(site)["readers"] == 1
        client.socket.shutdown(socket.SHUT_RDWR)  # no close frame: the network went away
        nothing_held(site)


def hear(client: ClientConnection) -> Any:
    """The next message that is no heartbeat; a loaded machine may be silent for longer than there are none."""
    while (message := json.loads(client.recv(60)))["type"] == "stream.heartbeat":
        pass
    return message


def wait_message(client: ClientConnection, kind: str) -> Any:
    while (message := json.loads(client.recv(60)))["type"] != kind:
        assert message["type"].startswith("stream."), message
    return message


@pytest.mark.parametrize("framework", ["django", "flask"])
def test_hand_off_of_a_sync_view(site: Server, channel: str, framework: str) -> None:
    with HTTPStream(f"{site.url}/{framework}/", headers={"Accept-Encoding": "gzip"}) as page:
        assert page.read_all() == framework.encode()
        assert page.headers["content-length"] == str(len(framework))
    url = f"{site.url}/{framework}/{channel}"
    publish(site, channel)
    with SSEClient(url, {"Accept-Encoding": "gzip"}) as client:
        assert [frame.data for frame in client.take(2)] == ["{}", "0"]
        assert f"seen={channel}" in client.headers["set-cookie"]
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["content-encoding"] == "identity"
        assert not {"content-length", "etag", "x-sse-bridge-handoff"} & set(client.headers)
        last = publish(site, channel, 2)[-1]
        assert [frame.data for frame in client.take(2)] == ["0", "1"]
    nothing_held(site)
    publish(site, channel)
    with SSEClient(url, last_event_id=last) as client:
        assert [frame.data for frame in client.take(2)] == ["{}", "0"]
    with HTTPStream(url, method="HEAD") as response:
        assert response.status == 200
    end = get(site, f"/close?channel={channel}")
    assert follow(url, lambda frames: False, last_event_id=end).finished
    nothing_held(site)


@pytest.mark.parametrize("framework", ["django", "flask"])
def test_200_streams_of_sync_views_hold_no_thread(site: Server, channel: str, framework: str) -> None:
    before = held(site)["threads"]
    with ExitStack() as stack:
        clients = [stack.enter_context(SSEClient(f"{site.url}/{framework}/{channel}")) for _ in range(200)]
        for client in clients:
            client.take(1)
        assert held(site)["readers"] == 200
        wait_for(lambda: held(site)["threads"] <= before + 3, what="the views' threads to end")
        publish(site, channel)
        for client in clients:
            assert client.take(1)[0].data == "0"
    nothing_held(site)


@pytest.mark.parametrize("kind", ["uvicorn", "daphne", "granian"])  # hypercorn lets no handler of ours live
def test_sigterm_says_goodbye_on_every_transport(kind: str) -> None:
    env = {"SSE_BRIDGE_URL": "memory://", "SSE_BRIDGE_DRAIN_SECONDS": "0"}
    with serve(kind, "tests.apps.asgi_site:app", env=env) as site, ExitStack() as stack:
        streams = [
            stack.enter_context(SSEClient(site.url + path)) for path in ("/events/?channel=a", "/django/a", "/flask/a")
        ]
        for stream in streams:
            stream.take(1)
        client = stack.enter_context(websocket(site, "/events/?channel=a"))
        wait_message(client, "stream.open")
        site.process.signal(signal.SIGTERM)
        for stream in streams:
            assert (stream.rest()[-1].event, stream.ended) == ("stream.close", "complete")
        if kind != "granian":  # it ends at once after the drain, and may take the last WebSocket messages along
            assert wait_message(client, "stream.close")["data"] == {"reason": "drain"}
            with pytest.raises(ConnectionClosed):
                client.recv(60)
            assert client.close_code == 4503
        wait_for(lambda: not site.process.alive, what="the server's end")


def test_a_source_over_websocket(site: Server) -> None:
    with websocket(site, "/numbers?count=200") as client:
        messages = [hear(client) for _ in range(202)]
        assert [message["type"] for message in messages] == ["stream.open", *["number"] * 200, "stream.end"]
        assert [message["data"][0] for message in messages[1:-1]] == list(range(200))
        with pytest.raises(ConnectionClosed):
            client.recv(60)
        assert client.close_code == 1000
    nothing_held(site)


def test_a_client_that_leaves_closes_its_source(site: Server) -> None:
    with websocket(site, "/numbers?count=1000000000", close_timeout=1) as client:  # else it waits for an answer for ten
        assert hear(client)["type"] == "stream.open"
        assert held(site)["streams"] == 1
    nothing_held(site)
