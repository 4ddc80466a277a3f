"""Two users behind an nginx that caches what it may share no byte, not even by mistake in its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.conftest import ASGI, WSGI, Site
from tests.support.http_stream import HTTPStream
from tests.support.nginx import started
from tests.support.process import free_port
from tests.support.requires import needs_nginx
from tests.support.sse_client import SSEClient

pytestmark = needs_nginx


@pytest.fixture
def front(site: Site, tmp_path: Path) -> Iterator[str]:
    """nginx (as the user who started it, so that it can write its cache) with a cache on everything, whose key knows no user; each path says by X-Cache how it was answered."""
    port = free_port()
    upstreams = {"asgi": site.server(ASGI).port, "flask": site.server(WSGI).port, "django": site.server(WSGI).port}
    locations = "".join(
        f"location /{name}/ {{ proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1; }}\n"
        for name, upstream in upstreams.items()
    )
    control = free_port()
    locations += f"location /control/ {{ proxy_pass http://127.0.0.1:{control}; }}"
    configuration = f"""
        proxy_cache_path {tmp_path}/cache keys_zone=all:1m;
        server {{
            listen 127.0.0.1:{port};
            proxy_cache all; proxy_cache_key $uri$is_args$args; proxy_cache_methods GET HEAD;
            add_header X-Cache $upstream_cache_status always;
            {locations}
        }}
        server {{
            listen 127.0.0.1:{control};
            location / {{ add_header Cache-Control max-age=60; return 200 "kept $request_id"; }}
        }}
    """
    with started(tmp_path, configuration, port, control, main="user root;"):
        yield f"http://127.0.0.1:{port}"
        kept = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert [one for one in kept if b"/control/" not in one] == [], "nginx kept an answer of ours"


@pytest.mark.parametrize("adapter", ["asgi", "flask", "django"])
def test_two_users_share_no_byte(site: Site, front: str, channel: str, adapter: str) -> None:
    """The same address for both; by header for one, by cookie for the other."""
    ada = {"Authorization": f"Bearer {site.bridge.token(channel, 'ada')}"}
    bob_cookie = {"Cookie": f"sse_bridge_token={site.bridge.token(channel, 'bob')}"}
    url = f"{front}/{adapter}/token?channel={channel}"
    with SSEClient(url, ada) as first, SSEClient(url, bob_cookie) as second:
        opened = [first.take(1)[0], second.take(1)[0]]
        assert first.headers["x-cache"] == second.headers["x-cache"] == "MISS"
        assert [frame.event for frame in opened] == ["stream.open"] * 2
        site.bridge.publish(channel, "one")
        assert first.take(1)[0].data == second.take(1)[0].data == '"one"'
    with SSEClient(f"{url}&last=0", ada) as late:  # a new stream, not the replay of a kept one
        assert late.take(1)[0].event == "stream.open"
        site.bridge.publish(channel, "two")
        assert late.take(1)[0].data == '"two"'
        assert b"one" not in late.received


@pytest.mark.parametrize("adapter", ["asgi", "flask", "django"])
def test_neither_refusals_nor_ends_are_kept(site: Site, front: str, channel: str, adapter: str) -> None:
    url = f"{front}/{adapter}/token?channel={channel}"
    token = {"Authorization": f"Bearer {site.bridge.token(channel, 'ada')}"}
    wrong = {"Authorization": f"Bearer {site.bridge.token('other', 'bob')}"}

    def status(headers: dict[str, str], query: str = "") -> int:
        with HTTPStream(f"{url}{query}", headers) as answer:
            assert answer.headers.get("x-cache", "MISS") == "MISS"
            return answer.status

    assert [status({}), status(wrong), status(token), status({}), status(wrong)] == [401, 403, 200, 401, 403]
    end = site.bridge.close_channel(channel)
    assert [status(token, f"&after={end}"), status({}, f"&after={end}"), status(wrong, f"&after={end}")] == [
        204,
        401,
        403,
    ]


def test_this_nginx_keeps_what_it_may(front: str) -> None:
    """Without this the tests above could not fail."""
    answers = []
    for _ in range(2):
        with HTTPStream(f"{front}/control/") as answer:
            answers.append((answer.read_all(), answer.headers["x-cache"]))
    assert answers[0][1] == "MISS"
    assert answers[1] == (answers[0][0], "HIT")
