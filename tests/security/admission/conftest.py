"""Real servers of `tests.security.admission.site` that share one Redis and one prefix."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from sse_bridge import Bridge
from tests.support.http_stream import HTTPStream
from tests.support.servers import Server, serve
from tests.support.sse_client import SSEClient

APPS = {"uvicorn": "tests.security.admission.site:asgi", "gunicorn-gevent": "tests.security.admission.site:flask_app",
        "gunicorn-gthread": "tests.security.admission.site:django_wsgi"}  # fmt: skip


class Site:
    """A running server; its streams are closed with it."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self.server = server
        self._stack = stack

    def request(self, channel: str, user: str | None = None, query: str = "", **options: Any) -> SSEClient:
        """A stream, or its refusal."""
        address = f"{self.server.url}/events/?channel={channel}{query}" + ("" if user is None else f"&user={user}")
        options.setdefault("seconds", 60)  # gunicorn listens before its worker has imported the site
        return self._stack.enter_context(SSEClient(address, **options))

    def stream(self, channel: str, user: str | None = None, query: str = "", **options: Any) -> SSEClient:
        """A stream that is open."""
        client = self.request(channel, user, query, **options)
        assert client.status == 200, client.response.read_all(5)
        [frame] = client.take(1, 60)
        assert frame.event == "stream.open", frame
        return client

    def tokens(self, user: str | None = None, query: str = "", **options: Any) -> SSEClient:
        """A response made of an iterable, or its refusal."""
        options.setdefault("seconds", 60)
        address = f"{self.server.url}/tokens/?x{query}" + ("" if user is None else f"&user={user}")
        return self._stack.enter_context(SSEClient(address, **options))

    def held(self) -> int:
        with HTTPStream(f"{self.server.url}/held", {"Connection": "close"}) as answer:
            return int(answer.read_all())


class Sites:
    """Starts servers, and publishes and revokes from this process."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.prefix = f"security{os.urandom(4).hex()}"
        self.url = url
        self._stack = stack

    def start(self, kind: str, port: int | None = None, **settings: object) -> Site:
        env = {f"SSE_BRIDGE_{name.upper()}": str(value) for name, value in settings.items()}
        env = {"SSE_BRIDGE_URL": self.url, "SSE_BRIDGE_PREFIX": self.prefix, "SSE_BRIDGE_HEARTBEAT_SECONDS": "0.5",
               "SSE_BRIDGE_DRAIN_SECONDS": "0.2", **env}  # fmt: skip
        return Site(self._stack.enter_context(serve(kind, APPS[kind], env=env, port=port, seconds=60)), self._stack)

    def bridge(self, **settings: Any) -> Bridge:
        return self._stack.enter_context(Bridge(self.url, prefix=self.prefix, **settings))


@pytest.fixture
def sites(redis_url: str) -> Iterator[Sites]:
    with ExitStack() as stack:
        yield Sites(redis_url, stack)


@pytest.fixture
def sites_on() -> Iterator[Callable[[str], Sites]]:
    with ExitStack() as stack:
        yield lambda url: Sites(url, stack)


def reason(client: SSEClient, seconds: float = 60) -> str:
    """Why a stream ended: of its last frame."""
    last = client.rest(seconds)[-1]
    assert last.event == "stream.close", last
    return str(json.loads(last.data)["reason"])
