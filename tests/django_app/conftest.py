"""The site under every server and over both brokers; a server is started once for all tests of this folder."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from tests.support.servers import ASGI_SERVERS, Server, serve
from tests.support.wait import wait_for

PROJECT = "tests.django_app.project"

WAYS = [
    ("gunicorn-gthread", "wsgi"),
    ("gunicorn-gevent", "wsgi"),
    ("uvicorn", "asgi"),
    ("daphne", "asgi"),
    ("uvicorn", "asgi_handoff"),
    ("daphne", "asgi_handoff"),
]

# For what the broker has no part in, and for what neither server nor broker has.
without_broker = pytest.mark.parametrize("site", [(*way, "memory") for way in WAYS], ids="-".join, indirect=True)
one_of_each = pytest.mark.parametrize(
    "site",
    [(*way, "memory") for way in WAYS if way[0] in ("gunicorn-gthread", "uvicorn")],
    ids="-".join,
    indirect=True,
)


# What the site's views raise on purpose, and a log may hold.
EXPECTED_ERRORS = (
    "RuntimeError: a secret",
    "IncompleteStream",
    "a source must be a sync or async iterable",
    "<object object at",
    "hook_errors.py",
    "strange_errors.py",
    "to return or raise an ordinary exception",
    "raised StopIteration",
)


class Site:
    """The site as its visitors see it.

    Attributes:
        asgi: it runs under ASGI.
        handoff: behind the middleware.
    """

    def __init__(self, server: Server, module: str) -> None:
        self.server = server
        self.url = server.url
        self.asgi = server.kind in ASGI_SERVERS
        self.handoff = module == "asgi_handoff"

    def post(self, path: str, data: Any = None) -> Any:
        response = httpx.post(f"{self.url}/{path}", content=json.dumps(data), timeout=60)
        assert response.status_code == 200, f"{response.status_code}: {response.text}\n{self.server.output}"
        return response.json()

    def publish(self, channel: str, *items: Any) -> list[str]:
        """In turn by a sync view and by an async one; returns the ids."""
        return [
            self.post(f"{'apublish' if index % 2 else 'publish'}/{channel}/", item)["id"]
            for index, item in enumerate(items)
        ]

    def held(self) -> Mapping[str, int]:
        """What the server's process holds now."""
        return httpx.get(f"{self.url}/debug/", timeout=60).json()

    def wait_until_released(self) -> None:
        wait_for(lambda: self.held()["readers"] == self.held()["streams"] == 0, what=f"no readers, {self.held()}")


@pytest.fixture(
    scope="package", params=[(*way, broker) for way in WAYS for broker in ("memory", "redis")], ids="-".join
)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    kind, module, broker = request.param
    url = request.getfixturevalue("redis_url") if broker == "redis" else "memory://"
    database = tmp_path_factory.mktemp("django") / "db.sqlite3"  # one in memory ignores close()
    env = {"SSE_BRIDGE_URL": url, "SSE_BRIDGE_PREFIX": f"django-{kind}-{module}", "TEST_DATABASE": str(database)}
    with serve(kind, f"{PROJECT}.{module}:app", env=env) as server:
        yield Site(server, module)
        for trace in server.output.split("Traceback")[1:]:
            assert any(error in trace for error in EXPECTED_ERRORS), server.output


@pytest.fixture
def channel() -> str:
    return f"c{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["sync", "async"])
def view(request: pytest.FixtureRequest) -> str:
    """The colour of the view that streams."""
    return str(request.param)
