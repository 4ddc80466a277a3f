"""Flask on ASGI servers: behind the middleware the view hands its stream off, without it the view refuses."""

from __future__ import annotations

import io
import signal
from typing import Any

import pytest
from flask import Flask

from sse_bridge.errors import ConfigurationError
from sse_bridge_flask import SSEBridge, event_stream
from tests.flask_app.serving import APP, serving
from tests.support.wait import wait_for


def test_behind_the_middleware_no_thread_is_held() -> None:
    with serving("uvicorn", "memory://", app="tests.flask_app.asgi_app:app") as server:
        first = server.stream("/events/a")
        assert first.headers["content-type"] == "text/event-stream"
        assert first.headers["set-cookie"].startswith("seen=yes"), "the view's own headers stay"
        assert not [name for name in first.headers if "handoff" in name]
        threads = len(server.fetch("/state")["threads"])
        clients = [first, *(server.stream("/aevents/a" if number % 2 else "/events/a") for number in range(30))]
        server.post("/publish/a?count=3")
        for client in clients:
            assert [frame.data for frame in client.take(3)] == ['{"n":0}', '{"n":1}', '{"n":2}']
        state = server.fetch("/state")
        assert state["streams"] == 31
        assert state["readers"] == 0, "on the hub of the loop, not on that of threads"
        assert len(state["threads"]) <= threads + 2
        for client in clients[1:]:
            client.close()
        wait_for(lambda: server.fetch("/state")["streams"] == 1)

        refused = server.request("/events/a?last=x")
        assert refused.status == 400
        assert server.request("/mounted-async?channel=user:ann:1").status == 401
        granted = server.stream("/mounted-async?channel=user:ann:1", headers={"X-User": "ann"})
        server.process.signal(signal.SIGTERM)
        for client in (first, granted):
            assert [frame.event for frame in client.rest()] == ["stream.close"]
            assert client.ended == "complete"


@pytest.mark.parametrize(
    ("kind", "app", "arguments"),
    [
        ("uvicorn", "tests.flask_app.asgi_app:bare", []),
        ("uvicorn", APP, ["--interface", "wsgi"]),
        ("hypercorn", f"wsgi:{APP}", []),
    ],
    ids=["asgiref", "uvicorn", "hypercorn"],
)
def test_without_the_middleware_it_refuses(kind: str, app: str, arguments: list[str]) -> None:
    with serving(kind, "memory://", app=app, arguments=arguments) as server:
        refused = server.request("/events/a")
        assert refused.status == 500
        wait_for(lambda: "ConfigurationError" in server.process.output)
        wait_for(lambda: "SSEBridgeMiddleware" in server.process.output)
        assert server.fetch("/state")["streams"] == 0


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    SSEBridge(app, default=False)
    app.add_url_rule("/events", view_func=lambda: event_stream("a"))
    app.testing = True
    return app


# what the other bridges put into environ, beyond what every WSGI server does
BRIDGES: dict[str, dict[str, Any]] = {
    "starlette": {"wsgi.multithread": True, "wsgi.multiprocess": True},
    "a2wsgi": {"wsgi.multithread": True, "wsgi.multiprocess": True, "asgi.scope": {}, "wsgi.input": object()},
}
SERVERS: dict[str, dict[str, Any]] = {
    "gunicorn": {
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "SERVER_SOFTWARE": "gunicorn/27.0",
        "wsgi.input": object(),
    },
    "waitress": {"wsgi.multithread": True, "wsgi.multiprocess": False, "SERVER_SOFTWARE": "waitress"},
    "uwsgi": {"wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.input": object()},
}


def environ(extra: dict[str, Any]) -> dict[str, Any]:
    return {"wsgi.input": io.BytesIO(), **extra}


@pytest.mark.parametrize("bridge", BRIDGES)
def test_other_bridges_are_recognised(app: Flask, bridge: str) -> None:
    with pytest.raises(ConfigurationError, match="SSEBridgeMiddleware"):
        app.test_client().get("/events", environ_overrides=environ(BRIDGES[bridge]))


@pytest.mark.parametrize("server", SERVERS)
def test_wsgi_servers_are_not_taken_for_one(app: Flask, server: str) -> None:
    with app.test_client().get("/events", environ_overrides=environ(SERVERS[server]), buffered=False) as response:
        assert response.status_code == 200
