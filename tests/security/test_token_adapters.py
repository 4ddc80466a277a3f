"""``authorize=by_token()`` on every adapter, over HTTP and WebSocket: by header, by cookie, and until it expires."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.security.conftest import ASGI, WSGI, Site
from tests.support.http_stream import HTTPStream
from tests.support.sse_client import SSEClient


def test_by_header_and_by_cookie(site: Site, way: Any, channel: str) -> None:
    url = site.url(way, f"token?channel={channel}")
    token = site.bridge.token(channel, "7")
    for headers in ({"Authorization": f"Bearer {token}"}, {"Cookie": f"a=b; sse_bridge_token={token}"}):
        with SSEClient(url, headers) as client:
            assert client.take(1)[0].event == "stream.open"
        # and at a reconnect, which names another channel this time
        with HTTPStream(f"{url}&channel=other", headers) as answer:
            assert answer.status == 403
    for headers in ({}, {"Authorization": f"Bearer {token[:-2]}"}, {"Authorization": "Basic eDp5"}):
        with HTTPStream(f"{url}&token={token}", headers) as answer:
            assert answer.status == 401
            assert token.encode() not in answer.read_all(60)


@pytest.mark.parametrize("way", [(ASGI, "asgi"), (WSGI, "flask")], ids="-".join)  # the core ends it, in both colours
def test_the_stream_ends_when_the_token_does_and_does_not_come_back(site: Site, way: Any, channel: str) -> None:
    url = site.url(way, f"token?channel={channel}")
    headers = {"Authorization": f"Bearer {site.bridge.token(channel, '7', expires_seconds=2)}"}
    with SSEClient(url, headers) as client:
        assert client.status == 200
        assert client.rest(60)[-1].event == "stream.close"
    with HTTPStream(url, headers) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("adapter", ["asgi", "channels"])
def test_over_websocket(site: Site, channel: str, adapter: str) -> None:
    url = site.url((ASGI, adapter), f"token?channel={channel}").replace("http:", "ws:")
    cookie = {"Cookie": f"sse_bridge_token={site.bridge.token(channel, '7')}"}
    with connect(url, additional_headers=cookie) as socket:
        assert "stream.open" in str(socket.recv(timeout=60))
    for headers in ({}, {"Cookie": "sse_bridge_token=x"}, {**cookie, "Origin": "https://evil.example"}):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, additional_headers=headers)
        assert refused.value.response.status_code in (401, 403)
