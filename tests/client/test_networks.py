"""What lies between a page and its stream: another origin, and a network that was away."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.client.conftest import Client, Site
from tests.support.requires import needs_redis7
from tests.support.wait import stays, wait_for

pytestmark = needs_redis7

Open = Callable[..., Client]
AUTHORIZED = {"Authorization": "Bearer x"}  # which a browser asks about first (a preflight), as about Last-Event-ID


@pytest.fixture
def elsewhere(site: Site, redis_url: str) -> Iterator[Site]:
    """Another origin than that of the site's page, which it lists."""
    assert site.server is not None
    elsewhere = Site(redis_url)
    elsewhere.env["SSE_BRIDGE_CORS_ORIGINS"] = site.server.url
    elsewhere.channel = f"c{uuid.uuid4().hex[:8]}"
    with elsewhere.bridge, elsewhere.serve():
        yield elsewhere


@pytest.mark.parametrize("runtime", ["chromium"])
def test_a_stream_of_another_origin(site: Site, elsewhere: Site, client: Open) -> None:
    assert site.server is not None
    listed = client(site)
    listed.follow(elsewhere.url, headers=AUTHORIZED, credentials="include")
    wait_for(lambda: listed.ask("log.length"))
    elsewhere.publish(1)
    wait_for(lambda: listed.data == [1])
    listed.ask("stream.reconnect()")
    elsewhere.publish(2)
    wait_for(lambda: listed.data == [1, 2])
    first, second = elsewhere.asked()
    assert [asked["headers"]["origin"] for asked in (first, second)] == [site.server.url] * 2
    assert second["headers"]["authorization"] == "Bearer x"
    assert second["headers"]["last-event-id"]
    listed.ask("stream.close()")

    stranger = client(site, site.server.url.replace("127.0.0.1", "localhost"))
    stranger.follow(elsewhere.url, headers=AUTHORIZED, maxRetrySeconds=0.2)
    wait_for(lambda: stranger.states.count("waiting") >= 3)
    assert len(elsewhere.asked()) == 2, "its preflight was not answered as it wished, and nothing else was sent"
    stranger.follow(elsewhere.url, maxRetrySeconds=0.2)  # a request that no browser asks about first
    wait_for(lambda: len(elsewhere.asked()) >= 4)
    elsewhere.publish(3)
    stays(lambda: stranger.ask("log") == [] and "open" not in stranger.states)
    stranger.ask("stream.close()")


@pytest.mark.parametrize("runtime", ["chromium", "firefox"])
def test_a_network_that_is_back_ends_a_long_wait(site: Site, client: Open, runtime: str) -> None:
    reader = client(site)
    driver: Any = reader.runtime
    site.plan((503, {"Retry-After": "600"}, ""))
    reader.follow(site.url)
    wait_for(lambda: reader.states == ["connecting", "waiting"])
    assert reader.ask("states.at(-1)[2]") >= 600_000
    if runtime == "chromium":
        driver.set_network_conditions(offline=True, latency=0, throughput=-1)
        try:
            wait_for(lambda: reader.ask("navigator.onLine") is False)
            assert reader.states[-1] == "waiting"
        finally:
            driver.delete_network_conditions()
    else:  # which WebDriver cannot take off the network
        driver.execute_script("dispatchEvent(new Event('online'))")
    wait_for(lambda: "stream.open" in [kind for kind, *_ in reader.ask("log")])
    site.publish("back")
    wait_for(lambda: reader.data == ["back"])
    assert reader.states == ["connecting", "waiting", "connecting", "open"]
    driver.execute_script("dispatchEvent(new Event('online'))")
    stays(lambda: len(site.asked()) == 2 and reader.states[-1] == "open")  # one that is open is left alone
    reader.ask("stream.close()")
