"""Where client.js runs (Chromium, Firefox, Node), and the site it follows."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import pytest

from sse_bridge import Bridge
from tests.support.node import lines, node_start
from tests.support.process import ROOT, Process
from tests.support.requires import require
from tests.support.servers import Server, serve
from tests.support.wait import wait_for

CLIENT = ROOT / "sse_bridge" / "static" / "sse_bridge" / "client.js"
# Clients come back at once, and a server forgets at once what the log forgot.
SETTINGS: dict[str, Any] = {
    "retry_min_ms": 100,
    "retry_max_ms": 200,
    "heartbeat_seconds": 0.3,
    "drain_seconds": 0,
    "linger_seconds": 0,
    "window_bytes": 4096,
    "replay_size": 5,
}

FOLLOW = """
const [url, options] = arguments;
globalThis.stream?.close();
globalThis.log = [];
globalThis.states = [];
globalThis.told = [];
if (globalThis.token) options.headers = () => ({ ...options.fixed, Authorization: `Bearer ${globalThis.token++}` });
globalThis.stream = new EventStream(url, {
  ...options,
  onEvent: (e) => log.push([e.type, e.lastEventId, e.data]),
  onGap: (gap) => told.push(["gap", gap]),
  onEnd: (end) => told.push(["end", end]),
  onState: (state, detail) => states.push([state, detail.reason ?? detail.status ?? null, detail.delay ?? null]),
});
stream.onerror = (e) => told.push(["error", e.status ?? null, e.delay ?? null]);
"""


class Runtime(Protocol):
    """What runs JavaScript."""

    def execute_script(self, script: str, *arguments: Any) -> Any: ...


class Node:
    """A Node process that knows client.js."""

    def __init__(self, process: Process) -> None:
        self._port = wait_for(lambda: lines(process), what="the port of evaluate.mjs")[0]["port"]

    def execute_script(self, script: str, *arguments: Any) -> Any:
        body = json.dumps({"script": script, "arguments": arguments}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}", body, timeout=60) as response:
            answer = json.load(response)
        assert "error" not in answer, f"the script failed: {answer['error']}\n{script}"
        return answer["result"]


class Client:
    """One EventStream in a runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def follow(self, url: str, **options: Any) -> None:
        """Begin; another one that was followed is closed."""
        self.runtime.execute_script(FOLLOW, url, options)

    def ask(self, expression: str) -> Any:
        return self.runtime.execute_script(f"return {expression}")

    @property
    def data(self) -> list[Any]:
        """Of the events that are not ours."""
        return [json.loads(data) for type, _, data in self.ask("log") if not type.startswith("stream.")]

    @property
    def states(self) -> list[str]:
        return [state for state, *_ in self.ask("states")]

    @property
    def closed(self) -> str | None:
        """Why, once it is."""
        state, reason, _ = self.ask("states.at(-1) ?? ['', null, null]")
        return reason if state == "closed" else None


class Site:
    """See `tests/apps/client_site.py`."""

    def __init__(self, redis_url: str) -> None:
        self.prefix = f"t{uuid.uuid4().hex[:12]}"
        self.bridge = Bridge(redis_url, prefix=self.prefix, replay_size=5)
        self.env = {f"SSE_BRIDGE_{name.upper()}": str(value) for name, value in SETTINGS.items()}
        self.env |= {"SSE_BRIDGE_URL": redis_url, "SSE_BRIDGE_PREFIX": self.prefix}
        self.server: Server | None = None
        self.channel = ""

    @contextmanager
    def serve(self, port: int | None = None) -> Iterator[Server]:
        with serve("uvicorn", "tests.apps.client_site:app", env=self.env, port=port) as self.server:
            yield self.server

    def publish(self, *data: Any) -> None:
        for each in data:
            self.bridge.publish(self.channel, each)

    @property
    def path(self) -> str:
        return f"/events/?channel={self.channel}"

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url + self.path

    def asked(self) -> list[dict[str, Any]]:
        """The requests so far, of this server and for this channel."""
        assert self.server is not None
        with urllib.request.urlopen(f"{self.server.url}/asked?channel={self.channel}", timeout=60) as response:
            answer: list[dict[str, Any]] = json.load(response)
            return answer

    def readers(self) -> int:
        """How many the server serves."""
        assert self.server is not None
        with urllib.request.urlopen(f"{self.server.url}/readers", timeout=60) as response:
            return int(response.read())

    def plan(self, *answers: tuple[int, dict[str, str], str]) -> None:
        """Give these answers first."""
        assert self.server is not None
        body = json.dumps(answers).encode()
        urllib.request.urlopen(f"{self.server.url}/plan?channel={self.channel}", body, timeout=60).close()


@pytest.fixture(scope="module")
def shared_site(redis_url: str) -> Iterator[Site]:
    site = Site(redis_url)
    with site.bridge, site.serve():
        yield site


@pytest.fixture
def site(shared_site: Site) -> Site:
    """With a channel of the test's own."""
    shared_site.channel = f"c{uuid.uuid4().hex[:8]}"
    return shared_site


@pytest.fixture(scope="module")
def node_runtime() -> Iterator[Node]:
    require("node")
    with node_start("evaluate.mjs", str(CLIENT)) as process:
        yield Node(process)


@pytest.fixture(params=["chromium", "firefox", "node"])
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(runtime: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Opens the site's page where the runtime has pages: `client(site)`, or by another address `client(site, url)`."""
    with ExitStack() as stack:

        def opened(site: Site, url: str = "") -> Client:
            fixture = {"chromium": "browser", "firefox": "firefox_browser", "node": "node_runtime"}[runtime]
            driver = request.getfixturevalue(fixture)
            if runtime != "node":
                assert site.server is not None
                driver.get(f"{url or site.server.url}/")
                wait_for(lambda: driver.execute_script("return typeof EventStream") == "function")
            stack.callback(driver.execute_script, "globalThis.stream?.close()")
            return Client(driver)

        yield opened
