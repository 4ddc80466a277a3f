"""gzip on the way to clients that others wrote: each event is there before the next is published, whatever its size."""

from __future__ import annotations

import subprocess
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
import pytest

from sse_bridge import Bridge
from tests.support.http_stream import HTTPStream
from tests.support.node import lines, node_start
from tests.support.process import Process
from tests.support.requires import needs_chromium, needs_node, needs_redis7
from tests.support.servers import serve
from tests.support.sse_parser import parse
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = needs_redis7

SIZES = [10, 600, 40, 2000, 7000, 1, 20_000, 100, 900]
FOLLOW = """
const [url, key] = arguments;
window.seen = [];
window.fetched = "";
const source = new EventSource(url);
source.onmessage = (event) => seen.push(JSON.parse(event.data).length);
source.addEventListener("stream.open", () => seen.push("open"));
source.addEventListener("stream.end", () => { seen.push("end"); source.close(); });
(async () => {
  const response = await fetch(url);
  window.encoding = response.headers.get("content-encoding");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    window.fetched += value;
  }
  window.fetched += "complete";
})();
"""


class Site:
    def __init__(self, url: str, bridge: Bridge) -> None:
        self.url = url
        self.bridge = bridge
        self.channel = f"c{uuid.uuid4().hex[:8]}"

    def one_by_one(self, arrived: Callable[[list[int]], bool]) -> None:
        """Publishes the next event when the one before has arrived, and then the end."""
        for number, size in enumerate(SIZES):
            self.bridge.publish(self.channel, "é" * size)
            sent = SIZES[: number + 1]
            wait_for(lambda sent=sent: arrived(sent), what=f"{sent} at the client")
        self.bridge.close_channel(self.channel)


@contextmanager
def site(redis_url: str, server: str, app: str, **env: str) -> Iterator[Site]:
    prefix = f"t{uuid.uuid4().hex[:12]}"
    env = {
        "SSE_BRIDGE_URL": redis_url, "SSE_BRIDGE_PREFIX": prefix, "SSE_BRIDGE_COMPRESSION": "gzip",
        "SSE_BRIDGE_HEARTBEAT_SECONDS": "0.3", **env,
    }  # fmt: skip
    with Bridge(redis_url, prefix=prefix) as bridge, serve(server, app, env=env) as running:
        yield Site(running.url, bridge)


@pytest.fixture(scope="module")
def asgi(redis_url: str) -> Iterator[Site]:
    with site(redis_url, "uvicorn", "tests.apps.asgi_site:app") as served:
        yield served


@pytest.fixture
def fresh(asgi: Site) -> Site:
    asgi.channel = f"c{uuid.uuid4().hex[:8]}"
    return asgi


@pytest.mark.parametrize(
    ("server", "app", "path"),
    [
        ("uvicorn", "tests.apps.asgi_site:app", "/events/?channel={}"),
        ("hypercorn", "tests.apps.asgi_site:app", "/events/?channel={}"),
        ("granian", "tests.apps.asgi_site:app", "/events/?channel={}"),
        ("daphne", "tests.apps.asgi_site:app", "/django/{}"),
        ("uvicorn", "tests.apps.asgi_site:app", "/flask/{}"),
        ("uvicorn", "tests.django_app.project.asgi:app", "/async/{}/"),
        ("gunicorn-gthread", "tests.django_app.project.wsgi:app", "/sync/{}/"),
        ("gunicorn-gevent", "tests.flask_app.app:app", "/events/{}"),
    ],
)
def test_one_complete_member(redis_url: str, server: str, app: str, path: str) -> None:
    with site(redis_url, server, app) as served:
        url = served.url + path.format(served.channel)
        with HTTPStream(url, {"Accept-Encoding": "gzip", "Accept": "text/event-stream"}) as response:
            assert response.headers["content-encoding"] == "gzip"
            assert {"accept", "accept-encoding"} <= set(response.headers["vary"].lower().split(", "))
            assert [name for name, _ in response.header_list].count("content-encoding") == 1
            assert "content-length" not in response.headers
            decoder = zlib.decompressobj(31)
            text = bytearray()

            def arrived(sent: list[int]) -> bool:
                text.extend(decoder.decompress(response.read(0.2) or b""))
                return text.count(b"\n\n") == len(sent) + 1

            wait_for(lambda: arrived([]), what="stream.open")
            wait_for(lambda: arrived([]) and b"\n\n:\n" in text, what="a heartbeat")
            served.one_by_one(arrived)
            text += decoder.decompress(response.read_all())
            assert response.ended == "complete"
            assert decoder.eof
            assert not decoder.unused_data
            frames = parse(bytes(text))
            assert [len(frame.data) - 2 for frame in frames[1:-1]] == SIZES
            assert frames[-1].event == "stream.end"
        with HTTPStream(url, {"Last-Event-ID": frames[-1].id, "Accept-Encoding": "gzip"}) as ended:
            assert ended.status == 204
            assert "content-encoding" not in ended.headers
        with HTTPStream(url, {"Accept": "text/event-stream"}) as plain:
            assert plain.headers.get("content-encoding", "identity") == "identity"
            assert b"stream.open" in (plain.read() or b"")


@needs_chromium
@pytest.mark.parametrize("compression", ["gzip", "per_connection"])
def test_chromium(redis_url: str, browser: Chrome, compression: str) -> None:
    with site(redis_url, "uvicorn", "tests.apps.asgi_site:app", SSE_BRIDGE_COMPRESSION=compression) as served:
        browser.get(f"{served.url}/django/")
        browser.execute_script(FOLLOW, f"/events/?channel={served.channel}")

        def state() -> Any:
            return browser.execute_script(
                "return [seen, fetched.split('data: \"').slice(1).map((s) => s.indexOf('\"'))]"
            )

        wait_for(lambda: browser.execute_script("return seen.length && fetched.includes('stream.open')"))
        served.one_by_one(lambda sent: state() == [["open", *sent], sent])
        wait_for(lambda: browser.execute_script("return seen.at(-1) === 'end' && fetched.endsWith('complete')"))
        assert browser.execute_script("return encoding") == {"gzip": "gzip", "per_connection": "zstd"}[compression]


@needs_node
def test_npm_eventsource(fresh: Site) -> None:
    with node_start("follow.mjs", f"{fresh.url}/events/?channel={fresh.channel}", "stream.end") as process:
        wait_for(lambda: {"open": True} in lines(process))

        def seen() -> list[int]:
            return [len(str(line["data"])) - 2 for line in lines(process) if line.get("event") == "message"]

        fresh.one_by_one(lambda sent: seen() == sent)
        wait_for(lambda: any(line.get("event") == "stream.end" for line in lines(process)))


@pytest.mark.parametrize("encodings", ["gzip, deflate", "zstd", "br"])
def test_httpx_sse(redis_url: str, fresh: Site, encodings: str) -> None:
    compression = "gzip" if "gzip" in encodings else "per_connection"
    with (
        site(redis_url, "uvicorn", "tests.apps.asgi_site:app", SSE_BRIDGE_COMPRESSION=compression) as served,
        httpx.Client(headers={"Accept-Encoding": encodings}, timeout=60) as client,
        httpx_sse.connect_sse(client, "GET", f"{served.url}/events/?channel={served.channel}") as source,
    ):
        assert source.response.headers["content-encoding"] == encodings.partition(",")[0]
        events = source.iter_sse()
        assert next(events).event == "stream.open"
        served.one_by_one(lambda sent: len(next(events).json()) == sent[-1])  # blocks until it is there
        assert [event.event for event in events] == ["stream.end"]


def test_curl(fresh: Site) -> None:
    url = f"{fresh.url}/events/?channel={fresh.channel}"
    with Process(["curl", "--compressed", "--no-buffer", "--silent", "--show-error", "--fail", url]) as process:
        wait_for(lambda: "stream.open" in process.output)
        fresh.one_by_one(lambda sent: process.output.count("\n\n") == len(sent) + 1)
        wait_for(lambda: not process.alive)
        assert "stream.end" in process.output
        assert "curl:" not in process.output  # it checks the CRC


def test_the_gzip_program_finds_nothing_wrong(fresh: Site) -> None:
    fresh.bridge.publish(fresh.channel, "x" * 3000)
    fresh.bridge.close_channel(fresh.channel)
    with HTTPStream(
        f"{fresh.url}/events/?channel={fresh.channel}&after=earliest", {"Accept-Encoding": "gzip"}
    ) as response:
        done = subprocess.run(["gzip", "--test"], input=response.read_all(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
