"""The README's nginx configuration, as it stands, in front of a real server and a real EventSource."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sse_bridge import Bridge
from tests.support.http_stream import HTTPStream
from tests.support.process import ROOT, Process, free_port
from tests.support.requires import find_nginx, needs_chromium, needs_nginx
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
    """nginx on a port of its own, in front of a server that may go and come back on its own port."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.prefix = f"t{uuid.uuid4().hex[:12]}"
        self.redis_url = redis_url
        self.port, self.app_port = free_port(), free_port()
        (folder / "nginx_app.py").write_text(APP)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> Any:
        paths = f"{self.folder}:{ROOT}:{ROOT / 'integrations'}"
        env = {"TEST_URL": self.redis_url, "TEST_PREFIX": self.prefix, "PYTHONPATH": paths}
        return serve("uvicorn", "nginx_app:app", env=env, cwd=self.folder, port=self.app_port)

    def configuration(self) -> str:
        (locations,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        return f"""
            daemon off; pid {self.folder}/nginx.pid; error_log {self.folder}/error.log; worker_processes 1;
            events {{ worker_connections 256; }}
            http {{
                access_log off; client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy;
                fastcgi_temp_path {self.folder}/f; uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;
                upstream app {{ server 127.0.0.1:{self.app_port}; }}
                server {{
                    listen 127.0.0.1:{self.port};
                    {locations}
                    location / {{ proxy_pass http://app; }}
                }}
            }}
        """


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Iterator[Site]:
    site = Site(tmp_path, redis_url)
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(site.configuration())
    nginx = find_nginx()
    assert nginx is not None
    process = Process([nginx, "-p", str(tmp_path), "-c", str(configuration), "-e", str(tmp_path / "error.log")])
    try:
        wait_for(lambda: _answers(site.url))
        yield site
    finally:
        process.terminate()  # a killed master leaves its workers behind


def _answers(url: str) -> bool:
    try:
        with HTTPStream(f"{url}/events/"):
            return True
    except OSError:
        return False


def test_an_event_passes_at_once(site: Site) -> None:
    with site.app(), SSEClient(f"{site.url}/events/") as client, Bridge(site.redis_url, prefix=site.prefix) as bridge:
        assert client.next(10).event == "stream.open"
        for n in range(3):
            bridge.publish("news", n)
            assert client.next(10).data == str(n)


def test_while_the_app_is_away_an_event_source_is_told_to_come_back(site: Site) -> None:
    with HTTPStream(f"{site.url}/events/") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.read_all(10) == b"retry: 3000\n\n"


@needs_chromium
def test_a_deploy_strands_no_event_source(site: Site, browser: Any) -> None:
    with Bridge(site.redis_url, prefix=site.prefix) as bridge:
        with site.app():
            browser.get(f"{site.url}/")
            bridge.publish("news", 0)
            wait_for(lambda: browser.title or (bridge.publish("news", 0) and browser.title), 20)
        bridge.publish("news", 1)  # the stream is cut, or has ended, and the server is away
        with site.app():
            bridge.publish("news", 2)
            wait_for(lambda: browser.title.endswith("1|2|"), 30)
            assert "1" not in browser.title.removesuffix("1|2|")
        browser.get("about:blank")
