"""The Flask app under one of the WSGI servers, and short requests to it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.support.http_stream import HTTPStream
from tests.support.process import Process, free_port
from tests.support.servers import Server, serve
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for

APP = "tests.flask_app.app:app"
SERVERS = ("flask", "gunicorn-gthread", "gunicorn-gevent", "waitress")
# Quick to notice and to end; each process has keys of its own in the shared Redis.
QUICK = {"SSE_BRIDGE_HEARTBEAT_SECONDS": "0.3", "SSE_BRIDGE_LINGER_SECONDS": "0.2", "SSE_BRIDGE_DRAIN_SECONDS": "0.5"}


class Served:
    """A running server; what it opened is closed with it."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self.url = server.url
        self.process = server.process
        self._stack = stack

    def fetch(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Any:
        """The JSON that a short request answers."""
        with HTTPStream(self.url + path, {"Connection": "close", **(headers or {})}, method=method) as answer:
            body = answer.read_all()
            assert answer.status == 200, (answer.status, body)
            return json.loads(body)

    def post(self, path: str) -> Any:
        return self.fetch(path, "POST")

    def request(self, path: str, **options: Any) -> SSEClient:
        """A stream, or its refusal."""
        return self._stack.enter_context(SSEClient(self.url + path, **options))

    def stream(self, path: str, **options: Any) -> SSEClient:
        """A stream whose ``stream.open`` has come."""
        client = self.request(path, **options)
        assert client.status == 200, client.response.read_all(5)
        frame = client.next()
        assert frame is not None
        assert frame.event == "stream.open"
        return client

    def wait_until_nothing_is_held(self) -> None:
        """For readers that have left."""

        def nothing() -> bool:
            state = self.fetch("/state")
            ours = [name for name in state["threads"] if name.startswith("sse_bridge")]
            return not (state["streams"] or state["readers"] or state["feeds"] or ours)

        wait_for(nothing, what="everything to be given back")


@contextmanager
def serving(kind: str, url: str, *, app: str = APP, arguments: Sequence[str] = (), **env: str) -> Iterator[Served]:
    """Runs the app.

    Args:
        kind: one of `SERVERS`, or an ASGI server.
        url: where the log lives.
        env: added to the environment.
    """
    environment = {**QUICK, "SSE_BRIDGE_URL": url, "SSE_BRIDGE_PREFIX": f"flask{os.urandom(4).hex()}", **env}
    with ExitStack() as stack:
        if kind == "waitress":
            server = stack.enter_context(_waitress(environment))
        else:
            server = stack.enter_context(serve(kind, app, env=environment, arguments=arguments))
        yield Served(server, stack)


@contextmanager
def _waitress(env: Mapping[str, str]) -> Iterator[Server]:
    port = free_port()
    command = ["python", "-m", "waitress", f"--listen=127.0.0.1:{port}", "--threads=16", APP]
    with Process(command, env=env) as process:
        process.wait_until_accepting(port)
        yield Server("waitress", port, process)
