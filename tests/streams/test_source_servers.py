"""Sources under real servers: they stream, fail, notice a client that leaves, and end at a signal."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator

import pytest

from tests.support.http_stream import HTTPStream
from tests.support.servers import Server, serve
from tests.support.sse_client import SSEClient, follow
from tests.support.wait import wait_for

ASGI = ["uvicorn", "hypercorn", "daphne", "granian"]
WSGI = ["gunicorn-gthread", "gunicorn-gevent"]


def colours(kind: str) -> list[str]:
    return ["sync", "own", "async"] if kind in WSGI else ["sync", "async"]


@pytest.fixture(scope="module", params=[*ASGI, *WSGI])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    app = "wsgi" if request.param in WSGI else "asgi"
    with serve(request.param, f"tests.apps.sources:{app}") as running:
        yield running


def whole(url: str, accept: str = "*/*") -> tuple[bytes, str]:
    with HTTPStream(url, {"Accept": accept, "Connection": "close"}) as stream:
        return stream.read_all(60), stream.ended


def ended(server: Server) -> tuple[list[str], int]:
    names, streams = json.loads(whole(server.url + "/ended")[0])
    return names, streams


def test_a_source_streams_and_eventsource_is_told_to_stop(server: Server) -> None:
    for colour in colours(server.kind):
        seen = follow(f"{server.url}/count/{colour}", lambda frames: False)
        assert [frame.data for frame in seen.frames] == [
            "0",
            "1",
            "2",
            "3",
            "4",
            '{"channel":null,"reason":"completed"}',
        ]
        assert (seen.connections, seen.finished) == (1, True)
        body, _ = whole(f"{server.url}/count/{colour}", "application/json")
        assert [row["data"] for row in json.loads(body)] == [0, 1, 2, 3, 4]


def test_a_failure_is_told_or_cuts_the_connection(server: Server) -> None:
    for colour in colours(server.kind):
        with SSEClient(f"{server.url}/failing/{colour}") as client:
            assert [frame.event for frame in client.rest()][-2:] == ["stream.error", "stream.end"]
            assert client.ended == "complete"
            assert b"told to fail" not in client.received
        with HTTPStream(f"{server.url}/failing/{colour}?format=text") as stream:
            body = b""
            while len(body) < 10 or (server.kind != "daphne" and not stream.ended):
                body += stream.read(60) or b""
            assert body.split() == [b"0", b"1", b"2", b"3", b"4"]
            # daphne has no way to cut a response: the client waits for the rest, and is not told that it is whole
            assert stream.ended == ("" if server.kind == "daphne" else "cut"), (colour, server.output)
    # once per failure, by us: a cut is nothing that a server reports with a traceback of its own

    def reports() -> tuple[int, int]:
        return server.output.count("RuntimeError: told to fail"), server.output.count("a source failed")

    wait_for(lambda: reports()[0] == reports()[1] > 0, what=f"one traceback per failure in {server.output}")


def test_a_client_that_leaves_ends_its_source(server: Server) -> None:
    for colour in colours(server.kind):
        with SSEClient(f"{server.url}/endless/{colour}") as client:
            client.take(4)
        wait_for(lambda colour=colour: f"endless/{colour}" in ended(server)[0], what=f"the end of {colour}")
    wait_for(lambda: ended(server)[1] == 0)


def test_a_client_that_leaves_ends_a_silent_source(server: Server) -> None:
    for colour in colours(server.kind):
        if colour == "sync" and server.kind in WSGI:
            continue  # it runs on the server's thread, which it blocks: `own_thread` is for that
        with SSEClient(f"{server.url}/silent/{colour}") as client:
            assert client.take(1)[0].event == "stream.open"
            wait_for(lambda client=client: client.read(1) and client.parser.comments, what="a heartbeat")
        wait_for(lambda: ended(server)[1] == 0, what=f"the end of the stream of {colour}")
        if colour == "async":
            wait_for(lambda: "silent/async" in ended(server)[0])


@pytest.mark.parametrize("kind", ["uvicorn", "gunicorn-gthread", "gunicorn-gevent"])
def test_a_signal_ends_sources_on_a_frame_boundary(kind: str) -> None:
    app = "tests.apps.sources:" + ("wsgi" if kind in WSGI else "asgi")
    with serve(kind, app, env={"SSE_BRIDGE_DRAIN_SECONDS": "0.2"}) as server, contextlib.ExitStack() as stack:
        urls = [f"{server.url}/endless/{colour}" for colour in [*colours(kind), "async", "async", "async"]]
        clients = [stack.enter_context(SSEClient(url)) for url in urls]
        for client in clients:
            client.take(3)
        server.process.signal(signal.SIGTERM)
        for client in clients:
            last = [frame.event for frame in client.rest()][-1:]
            assert last == ["stream.close"], (client.ended, server.output)
            assert (client.ended, client.parser.inside_frame) == ("complete", False)
