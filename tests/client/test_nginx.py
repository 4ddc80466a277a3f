"""nginx in front, configured as the docs say: a deploy with 5 s of 502, more streams than HTTP/1.1 allows, gzip, timeouts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest

from tests.client.conftest import Site
from tests.support.nginx import documented_locations, nginx
from tests.support.process import free_port
from tests.support.requires import needs_chromium, needs_firefox, needs_nginx, needs_redis7
from tests.support.sse_client import SSEClient
from tests.support.wait import stays, wait_for

pytestmark = [needs_nginx, needs_redis7]

AWAY_SECONDS = 5.0
EACH = 5  # native EventSources, and as many of our clients
STREAMS = 10  # more than the six connections of HTTP/1.1

# As many of each kind as it says: what each has seen, whether it is open, and whether it has given up.
FLEET = """
const [native, plain, count] = arguments;
globalThis.fleet = [];
globalThis.statuses = [];
for (let n = 0; n < count; n++) {
  const seen = [];
  const source = new EventSource(`${native}&n=${n}`);
  source.onmessage = (e) => seen.push(JSON.parse(e.data));
  fleet.push({ seen, open: () => source.readyState === 1, dead: () => source.readyState === 2 });
}
for (let n = 0; n < count; n++) {
  const seen = [];
  let state = "";
  const stream = new EventStream(`${plain}&n=${n}`, {
    onEvent: (e) => e.type.startsWith("stream.") || seen.push(JSON.parse(e.data)),
    onState: (now) => { state = now; },
    maxRetrySeconds: 8,  // 30 by default, at random: more than a test should wait
  });
  stream.onerror = (e) => statuses.push(e.status ?? null);
  fleet.push({ seen, open: () => state === "open", dead: () => state === "closed" });
}
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


@contextmanager
def trusting(browser: Any) -> Iterator[None]:
    """Chromium takes the certificate, which nobody signed; Firefox does from its start."""
    browser.execute_cdp_cmd("Security.enable", {})
    browser.execute_cdp_cmd("Security.setIgnoreCertificateErrors", {"ignore": True})
    yield
    browser.execute_cdp_cmd("Security.setIgnoreCertificateErrors", {"ignore": False})


@pytest.fixture
def site(redis_url: str) -> Iterator[Site]:
    site = Site(redis_url)
    site.channel = "news"
    with site.bridge:
        yield site


class Fleet:
    """Several native EventSources, and as many of our clients by way of a location without the error page, in one page."""

    def __init__(self, driver: Any, front: str, site: Site) -> None:
        self.driver = driver
        driver.get(f"{front}/")
        wait_for(lambda: driver.execute_script("return typeof EventStream") == "function")
        driver.execute_script(FLEET, site.path, f"/plain/?channel={site.channel}", EACH)

    def ask(self, expression: str) -> Any:
        return self.driver.execute_script(f"return {expression}")

    @property
    def open(self) -> bool:
        return bool(self.ask("fleet.every((each) => each.open())"))

    @property
    def dead(self) -> int:
        return int(self.ask("fleet.filter((each) => each.dead()).length"))

    def saw(self, *data: Any) -> bool:
        return bool(self.ask("fleet.map((each) => each.seen)") == [list(data)] * 2 * EACH)


@pytest.mark.slow
@needs_chromium
@needs_firefox
def test_a_deploy_with_seconds_of_502_strands_nobody(
    site: Site, tmp_path: Path, browser: Any, firefox_browser: Any
) -> None:
    port = free_port()
    locations = {"location @later": f"{without_error_page()}\nlocation @later"}  # of both servers
    with trusting(browser), nginx(tmp_path, port, replace=locations) as front:
        with site.serve(port):
            # over HTTP/2, for a browser opens no more than six connections
            fleets = [Fleet(driver, front.tls_url, site) for driver in (browser, firefox_browser)]
            wait_for(lambda: all(fleet.open for fleet in fleets))
            site.publish(1)
            wait_for(lambda: all(fleet.saw(1) for fleet in fleets))
        site.publish(2)
        stays(lambda: not any(fleet.dead for fleet in fleets), AWAY_SECONDS)
        assert all(502 in fleet.ask("statuses") for fleet in fleets)
        with site.serve(port):
            site.publish(3)
            wait_for(lambda: all(fleet.saw(1, 2, 3) for fleet in fleets), 40)
            for driver in (browser, firefox_browser):
                driver.get("about:blank")
    assert " 502 " in (tmp_path / "access.log").read_text()


@needs_chromium
def test_http_2_carries_more_streams_than_http_1(site: Site, tmp_path: Path, browser: Any) -> None:
    port = free_port()
    with trusting(browser), nginx(tmp_path, port) as front, site.serve(port):
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


def test_gzip_of_nginx_holds_nothing_back(site: Site, tmp_path: Path) -> None:
    port = free_port()
    with (
        nginx(tmp_path, port, replace={"gzip on;": "gzip on; gzip_min_length 0;"}) as front,
        site.serve(port),
        httpx.Client(verify=False, headers={"Accept-Encoding": "gzip"}, timeout=60) as client,
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
        assert client.next(60) is not None
        if lives:
            assert client.next(6) is None
            assert not client.ended
            site.publish("after a silence")
            assert client.next(60).data == '"after a silence"'  # type: ignore[union-attr]
        else:
            assert client.next(60) is None
            assert client.ended
