"""CORS with an explicit list, on every adapter, and with a real page of another origin in Chromium."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from sse_bridge import Bridge, Settings
from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import Cors
from sse_bridge_asgi import EventStreamApp
from tests.security.conftest import ALLOWED, ASGI, SOURCES, Site, names
from tests.support.http_stream import HTTPStream
from tests.support.requires import needs_chromium
from tests.support.servers import serve
from tests.support.wait import wait_for

PREFLIGHT = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization,last-event-id"}
STRANGERS = [
    "https://evil.example",
    "null",
    "https://app.example.com.evil.example",
    "https://app.example.com:444",
    "http://app.example.com",
    "https://app.example.com/",
    "HTTPS://APP.EXAMPLE.COM",
    "https://evil.example, https://app.example.com",
    "*",
]


def permissions(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


def test_a_listed_origin_may_read_with_credentials(site: Site, way: Any, channel: str) -> None:
    for path in (f"open?channel={channel}", *(["source"] if way in SOURCES else [])):
        with HTTPStream(site.url(way, path), {"Origin": ALLOWED}) as answer:
            assert answer.status == 200
            assert answer.headers["access-control-allow-origin"] == ALLOWED
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert {"origin", "accept"} <= names(answer.headers)
            assert len([1 for name, _ in answer.header_list if name == "vary"]) == 1
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_unlisted_origin_is_never_reflected(site: Site, way: Any, channel: str) -> None:
    for origin in (*STRANGERS, None):
        headers = {} if origin is None else {"Origin": origin}
        with HTTPStream(site.url(way, f"open?channel={channel}"), headers) as answer:
            assert answer.status == 200  # the browser keeps it from the page; a cache must keep them apart
            assert permissions(answer.headers) == {}
            assert "origin" in names(answer.headers)


def test_refusals_can_be_read_by_listed_pages_only_and_say_nosniff(site: Site, way: Any) -> None:
    refused = {"open?channel=a%20b": 400, "open?channel=a&last=x": 400, "token?channel=a": 401}
    for path, status in refused.items():
        for origin, allowed in ((ALLOWED, True), ("https://evil.example", False)):
            with HTTPStream(site.url(way, path), {"Origin": origin}) as answer:
                assert answer.status == status, path
                assert ("access-control-allow-origin" in answer.headers) is allowed, path
                assert "origin" in names(answer.headers)
                assert answer.headers["x-content-type-options"] == "nosniff"
                if status == 401:
                    assert answer.headers["www-authenticate"] == "Bearer"


def test_an_end_can_be_read_too(site: Site, way: Any, channel: str) -> None:
    end = site.bridge.close_channel(channel)
    with HTTPStream(site.url(way, f"open?channel={channel}&after={end}"), {"Origin": ALLOWED}) as answer:
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == ALLOWED
        assert "origin" in names(answer.headers)


def test_a_preflight_is_answered_from_the_list(site: Site, way: Any) -> None:
    for path in ("open?channel=a", "token?channel=a"):
        with HTTPStream(site.url(way, path), {"Origin": ALLOWED, **PREFLIGHT}, method="OPTIONS") as answer:
            assert answer.status in (200, 204)
            assert answer.headers["access-control-allow-origin"] == ALLOWED
            assert answer.headers["access-control-allow-credentials"] == "true"
            allowed = answer.headers["access-control-allow-headers"].lower()
            assert "last-event-id" in allowed
            assert "authorization" in allowed
            assert "GET" in answer.headers["access-control-allow-methods"]
            assert "origin" in names(answer.headers)
        for origin in STRANGERS:
            with HTTPStream(site.url(way, path), {"Origin": origin, **PREFLIGHT}, method="OPTIONS") as answer:
                assert answer.status == 403
                assert permissions(answer.headers) == {}
                assert "origin" in names(answer.headers)


def test_the_list_holds_origins_and_nothing_wider() -> None:
    for wrong in (
        "*",
        ["https://*.example.com"],
        "null",
        "app.example.com",
        "https://a.example/path",
        "https://a@b",
        [7],
    ):
        with pytest.raises(ConfigurationError, match="origin"):
            Settings.load(cors_origins=wrong)
        with pytest.raises(ConfigurationError, match="origin"):
            EventStreamApp(channels="a", cors_origins=wrong)  # type: ignore[arg-type]
    listed = Settings.load(cors_origins=" https://A.example/ , http://[::1]:8000,capacitor://localhost").cors_origins
    assert listed == ("https://a.example", "http://[::1]:8000", "capacitor://localhost")
    assert (
        Cors.of(Settings.load()).preflight("OPTIONS", {"access-control-request-method": "GET", "origin": "x"}) is None
    )
    # a route's own list wins, and an empty one turns the setting's off
    assert Cors.of(Settings.load(cors_origins=ALLOWED), ()).origins == frozenset()


FETCH = """
const [url, token, id, done] = arguments;
fetch(url, {credentials: 'include', headers: {'Last-Event-ID': id, Authorization: 'Bearer ' + token}}).then(async (r) => {
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!text.includes('data: 2')) text += (await reader.read()).value;
  reader.cancel(); done([r.status, text]);
}).catch((error) => done(['failed', String(error)]));
"""
EVENT_SOURCE = """
const [url, done] = arguments;
const source = new EventSource(url, {withCredentials: true});
source.onmessage = (event) => { source.close(); done(['message', event.data]); };
source.onerror = () => { if (source.readyState === 2) done(['closed', '']); };
"""


@needs_chromium
def test_a_page_of_another_origin_in_chromium(site: Site, browser: Any, redis_url: str) -> None:
    channel = f"c{uuid.uuid4().hex[:12]}"
    first = site.bridge.publish(channel, 1)
    site.bridge.publish(channel, 2)
    pages = site.server(ASGI).url.replace("127.0.0.1", "localhost")  # same site, another origin: cookies go along
    strangers = site.server(ASGI).url
    env = {**site.env, "SSE_BRIDGE_CORS_ORIGINS": pages}
    with serve("uvicorn", "tests.security.site:asgi", env=env, arguments=["--host", "0.0.0.0"], seconds=60) as server:
        token = site.bridge.token(channel, "7")
        streams = f"http://localhost:{server.port}/asgi"
        guarded, plain = f"{streams}/token?channel={channel}", f"{streams}/open?channel={channel}&after=earliest"
        browser.get(f"{pages}/page")
        wait_for(lambda: browser.title == "ready")
        status, text = browser.execute_async_script(FETCH, guarded, token, str(first))
        assert (status, "data: 1" in text) == (200, False), text
        assert browser.execute_async_script(EVENT_SOURCE, plain) == ["message", "1"]
        # the cookie, set for the streams' host, is all that a native EventSource can show
        browser.add_cookie({"name": "sse_bridge_token", "value": token, "path": "/"})
        assert browser.execute_async_script(EVENT_SOURCE, f"{guarded}&after=earliest") == ["message", "1"]
        browser.get(f"{strangers}/page")  # 127.0.0.1 is not on the list
        wait_for(lambda: browser.title == "ready")
        assert browser.execute_async_script(FETCH, guarded, token, str(first))[0] == "failed"
        assert browser.execute_async_script(EVENT_SOURCE, plain) == ["closed", ""]
        browser.get("about:blank")


def test_bridges_share_no_list() -> None:
    with Bridge("memory://", cors_origins="https://a.example") as one, Bridge("memory://") as other:
        assert Cors.of(one.settings).origins == {"https://a.example"}
        assert Cors.of(other.settings).origins == frozenset()
