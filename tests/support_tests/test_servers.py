"""Every server starts, streams through the strict client, and stops."""

from __future__ import annotations

import pytest

from tests.support.servers import serve
from tests.support.sse_client import SSEClient, follow
from tests.support.wait import stays

KINDS = {
    "uvicorn": "asgi",
    "hypercorn": "asgi",
    "daphne": "asgi",
    "granian": "asgi",
    "gunicorn-uvicorn": "asgi",
    "gunicorn-sync": "wsgi",
    "gunicorn-gthread": "wsgi",
    "gunicorn-gevent": "wsgi",
    "flask": None,
}


@pytest.mark.parametrize("kind", [kind for kind, app in KINDS.items() if app])
def test_streams_and_stops(kind: str) -> None:
    with serve(kind, f"tests.apps.ticks:{KINDS[kind]}") as server:
        with SSEClient(f"{server.url}/events?until=10") as client:
            assert client.status == 200
            assert [frame.id for frame in client.take(3)] == ["1", "2", "3"]
            assert [frame.data for frame in client.rest()] == [f"tick {n}" for n in range(4, 11)]
            assert client.ended == "complete"
        assert follow(f"{server.url}/events?until=10", lambda frames: False, last_event_id="8").finished
    assert not server.process.alive


def test_a_program_that_ends_is_an_error_with_its_output() -> None:
    with (
        pytest.raises(AssertionError, match="no_such_module"),
        serve("uvicorn", "no_such_module:app"),
    ):
        pass


def test_the_server_dies_and_the_client_says_cut() -> None:
    with serve("uvicorn", "tests.apps.ticks:asgi") as server, SSEClient(f"{server.url}/events") as client:
        client.take(3)
        stays(lambda: not client.ended, 0.05)
        server.process.kill()
        client.rest()
        assert client.ended == "cut"
