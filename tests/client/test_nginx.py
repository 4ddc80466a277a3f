"""nginx in front, configured as the docs say: a deploy with 5 s of 502, more streams than HTTP/1.1 allows, gzip, timeouts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest

from tests.client.conftest import Client, Site
from tests.support.nginx import documented_locations, nginx
from tests.support.process import free_port
from tests.support.requires import needs_chromium, needs_nginx, needs_redis7
from tests.support.sse_client import SSEClient
from tests.support.wait import stays, wait_for

pytestmark = [needs_nginx, needs_redis7]

AWAY_SECONDS = 5.0
STREAMS = 10  # more than the six connections of HTTP/1.1

NATIVE = """
globalThis.native = [];
globalThis.source = new EventSource(arguments[0]);
source.onmessage = (e) => native.push(JSON.parse(e.data));
"""
MANY = """
globalThis.opened = 0;
for (let n = 0; n < arguments[1]; n++) new EventSource(`${arguments[0]}&n=${n}`).onopen = () => opened++;
"""


def without_error_page() -> str:
    """The documented location at /plain/, as it would be for our client alone."""
    location = documented_locations().partition("location @later")[0]
    lines = [line for line in location.splitlines() if "error_page" not in line]
    assert len(lines) == len(location.splitlines()) - 1
    head = "location /events/ {"
    return "\n".join(lines).replace(head, "location /plain/ { rewrite ^/plain/(.*) /events/$1 break;")


@pytest.fixture
def site(redis_url: str) -> Iterator[Site]:
    site = Site(redis_url)
    site.channel = "news"
    with site.bridge:
        yield site


@pytest.mark.slow
@needs_chromium
def test_a_deploy_with_seconds_of_502_strands_nobody(site: Site, tmp_path: Path, browser: Any) -> None:
    port = free_port()
    with nginx(tmp_path, port, extra=without_error_page()) as front:
        with site.serve(port):
            browser.get(f"{front.url}/")
            wait_for(lambda: browser.execute_script("return typeof EventStream") == "function")
            client = Client(browser)
            client.follow(f"/plain/?channel={site.channel}")
            browser.execute_script(NATIVE, site.path)
            wait_for(lambda: client.ask("log.length && source.readyState === 1"))
            site.publish(1)
            wait_for(lambda: client.data == [1] and client.ask("native") == [1])
        site.publish(2)
        stays(lambda: client.closed is None and client.ask("source.readyState") != 2, AWAY_SECONDS)
        assert 502 in {told[1] for told in client.ask("told")}
        with site.serve(port):
            site.publish(3)
            wait_for(lambda: client.data == [1, 2, 3], 20)
            wait_for(lambda: client.ask("native") == [1, 2, 3], 20)
            browser.get("about:blank")
    assert " 502 " in (tmp_path / "access.log").read_text()


@needs_chromium
def test_http_2_carries_more_streams_than_http_1(site: Site, tmp_path: Path, browser: Any) -> None:
    browser.execute_cdp_cmd("Security.enable", {})
    browser.execute_cdp_cmd("Security.setIgnoreCertificateErrors", {"ignore": True})
    port = free_port()
    with nginx(tmp_path, port) as front, site.serve(port):
        browser.get(f"{front.url}/")
        browser.execute_script(MANY, site.path, STREAMS)
        wait_for(lambda: browser.execute_script("return opened") == 6)
        stays(lambda: browser.execute_script("return opened") == 6)
        browser.get("about:blank")

        browser.get(f"{front.tls_url}/")
        assert browser.execute_script("return performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
        browser.execute_script(MANY, site.path, STREAMS)
        wait_for(lambda: browser.execute_script("return opened") == STREAMS)
        browser.get("about:blank")
    browser.execute_cdp_cmd("Security.setIgnoreCertificateErrors", {"ignore": False})


def test_gzip_of_nginx_holds_nothing_back(site: Site, tmp_path: Path) -> None:
    port = free_port()
    with (
        nginx(tmp_path, port, replace={"gzip on;": "gzip on; gzip_min_length 0;"}) as front,
        site.serve(port),
        httpx.Client(verify=False, headers={"Accept-Encoding": "gzip"}, timeout=20) as client,
        httpx_sse.connect_sse(client, "GET", front.tls_url + site.path) as source,
    ):
        assert client.get(f"{front.tls_url}/static/sse_bridge/client.js").headers["content-encoding"] == "gzip"
        assert source.response.headers.get("content-encoding", "identity") == "identity"
        events = source.iter_sse()
        assert next(events).event == "stream.open"
        for n in range(3):
            site.publish(n)
            assert next(events).json() == n  # waits for it


@pytest.mark.parametrize(("heartbeat", "lives"), [("0.5", True), ("30", False)])
def test_heartbeats_outlive_the_read_timeout(site: Site, tmp_path: Path, heartbeat: str, lives: bool) -> None:
    site.env["SSE_BRIDGE_HEARTBEAT_SECONDS"] = heartbeat
    port = free_port()
    with (
        nginx(tmp_path, port, replace={"proxy_read_timeout 60s;": "proxy_read_timeout 3s;"}) as front,
        site.serve(port),
        SSEClient(front.url + site.path) as client,
    ):
        assert client.next(10) is not None
        if lives:
            assert client.next(6) is None
            assert not client.ended
            site.publish("after a silence")
            assert client.next(10).data == '"after a silence"'  # type: ignore[union-attr]
        else:
            assert client.next(20) is None
            assert client.ended
