"""The README's nginx configuration, as it stands, in front of a real server and a real EventSource."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sse_bridge import Bridge
from tests.support.http_stream import HTTPStream
from tests.support.nginx import nginx
from tests.support.process import ROOT, free_port
from tests.support.requires import needs_chromium, needs_nginx
from tests.support.servers import serve
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for

pytestmark = needs_nginx

APP = """
import os
from sse_bridge import Bridge
from sse_bridge_asgi import EventStreamApp
bridge = Bridge(os.environ["TEST_URL"], prefix=os.environ["TEST_PREFIX"], retry_min_ms=100, retry_max_ms=200)
streams = EventStreamApp(bridge, channels="news")
PAGE = b"<!doctype html><meta charset=utf-8><title></title><script>const s = new EventSource('/events/');" \\
    b"s.onmessage = (e) => document.title += e.data + '|';</script>"
async def app(scope, receive, send):
    if scope["type"] == "http" and not scope["path"].startswith("/events/"):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": PAGE})
    else:
        await streams(scope, receive, send)
"""


class Site:
    """nginx, in front of a server that may go and come back on its own port."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.prefix = f"t{uuid.uuid4().hex[:12]}"
        self.redis_url = redis_url
        self.app_port = free_port()
        self.url = ""
        (folder / "nginx_app.py").write_text(APP)

    def app(self) -> Any:
        paths = f"{self.folder}:{ROOT}:{ROOT / 'integrations'}"
        env = {"TEST_URL": self.redis_url, "TEST_PREFIX": self.prefix, "PYTHONPATH": paths}
        return serve("uvicorn", "nginx_app:app", env=env, cwd=self.folder, port=self.app_port)


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Iterator[Site]:
    site = Site(tmp_path, redis_url)
    (tmp_path / "nginx").mkdir()
    with nginx(tmp_path / "nginx", site.app_port) as front:
        site.url = front.url
        yield site


def test_an_event_passes_at_once(site: Site) -> None:
    with site.app(), SSEClient(f"{site.url}/events/") as client, Bridge(site.redis_url, prefix=site.prefix) as bridge:
        assert client.next(60).event == "stream.open"
        for n in range(3):
            bridge.publish("news", n)
            assert client.next(60).data == str(n)


def test_while_the_app_is_away_an_event_source_is_told_to_come_back(site: Site) -> None:
    with HTTPStream(f"{site.url}/events/") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.read_all(60) == b"retry: 3000\n\n"


@needs_chromium
def test_a_deploy_strands_no_event_source(site: Site, browser: Any) -> None:
    with Bridge(site.redis_url, prefix=site.prefix) as bridge:
        with site.app():
            browser.get(f"{site.url}/")
            bridge.publish("news", 0)
            wait_for(lambda: browser.title or (bridge.publish("news", 0) and browser.title))
        bridge.publish("news", 1)  # the stream is cut, or has ended, and the server is away
        with site.app():
            bridge.publish("news", 2)
            wait_for(lambda: browser.title.endswith("1|2|"))
            assert "1" not in browser.title.removesuffix("1|2|")
        browser.get("about:blank")
