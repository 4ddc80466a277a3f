"""The site behind real servers, an ASGI one and a WSGI one, on one Redis prefix; started once per run of the folder."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from sse_bridge import Bridge
from tests.support.http_stream import HTTPStream
from tests.support.requires import require
from tests.support.servers import Server, serve

SECRET = "the secret of the security tests, long enough"
ALLOWED = "https://app.example.com"

ASGI, WSGI = "uvicorn", "gunicorn-gthread"
WAYS = [
    *((ASGI, adapter) for adapter in ("asgi", "channels", "starlette", "handoff", "django")),
    *((WSGI, adapter) for adapter in ("django", "flask")),
]


class Site(NamedTuple):
    """Attributes:
    servers: by kind; each is started when it is first asked for.
    bridge: the tests' own hand on the same channels.
    env: what the servers run with.
    """

    server: Callable[[str], Server]
    bridge: Bridge
    env: dict[str, str]

    def url(self, way: tuple[str, str], name: str = "open") -> str:
        return f"{self.server(way[0]).url}/{way[1]}/{name}"


@pytest.fixture(scope="package")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    require("redis7")
    url, prefix = request.getfixturevalue("redis_url"), f"sec{uuid.uuid4().hex[:8]}"
    own = {"prefix": prefix, "replay_size": 200, "token_secret": SECRET}
    env = {
        "SSE_BRIDGE_URL": url,
        "SSE_BRIDGE_PREFIX": prefix,
        "SSE_BRIDGE_REPLAY_SIZE": "200",
        "SSE_BRIDGE_TOKEN_SECRET": SECRET,
        "SSE_BRIDGE_CORS_ORIGINS": f"{ALLOWED},http://localhost:1",
        "SSE_BRIDGE_COMPRESSION": "gzip",
    }
    with ExitStack() as stack:
        servers: dict[str, Server] = {}

        def server(kind: str) -> Server:
            if kind not in servers:
                app = f"tests.security.site:{'asgi' if kind == ASGI else 'wsgi'}"
                arguments = ["--access-logfile", "-", "--threads", "64"] if kind == WSGI else []
                servers[kind] = one = stack.enter_context(serve(kind, app, env=env, arguments=arguments, seconds=60))
                # the first stream imports, connects to Redis and starts the hub: on a loaded machine that takes its time
                for adapter in [way[1] for way in WAYS if way[0] == kind]:
                    HTTPStream(f"{one.url}/{adapter}/open?channel=warm", seconds=60).close()
            return servers[kind]

        bridge = stack.enter_context(Bridge(url, **own))
        yield Site(server, bridge, env)
        for kind, one in servers.items():
            assert "Traceback" not in one.output, f"{kind}: {one.output}"


SOURCES = [way for way in WAYS if way[1] not in ("asgi", "channels")]  # those two serve channels only


@pytest.fixture(params=WAYS, ids="-".join)
def way(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A server and an adapter."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def channel() -> str:
    return f"c{uuid.uuid4().hex[:12]}"


def names(headers: Any) -> set[str]:
    """The fields of a Vary header."""
    return {field.strip().lower() for field in headers.get("vary", "").split(",")}
