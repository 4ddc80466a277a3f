"""Clients that take nothing at all, on real servers: a revocation ends their streams too."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator

import pytest

from tests.security.admission.conftest import APPS, Sites
from tests.support.requires import needs_redis7
from tests.support.wait import stays, wait_for

pytestmark = needs_redis7

UPGRADE = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for each in made:
        each.close()


def ask(port: int, target: str, headers: str = "") -> socket.socket:
    """A request whose answer is read as far as its status."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(60)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode())
    assert client.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 101")
    return client


# daphne has no backpressure: no send of it waits
@pytest.mark.parametrize("kind", ["uvicorn", pytest.param("hypercorn", marks=pytest.mark.soak), "granian"])
def test_who_takes_nothing_is_given_up(
    kind: str, sites: Sites, sockets: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(APPS, kind, APPS["uvicorn"])
    site = sites.start(kind)
    bridge = sites.bridge()
    sockets.append(ask(site.server.port, "/tokens/?flood&user=ada"))
    sockets.append(ask(site.server.port, "/events/?channel=a&user=ada", UPGRADE))
    sockets.append(ask(site.server.port, "/events/?channel=a&user=ada"))
    wait_for(lambda: site.held() == 3)
    for _ in range(300):  # more than any server holds back for a client
        bridge.publish("a", "x" * 50_000)
    stays(lambda: site.held() == 3, 1.0)
    bridge.revoke(user="ada")
    # 2 s over a live link, one more to give up a write that the client does not take; the rest is for a loaded machine,
    # where 15 MB may still be ahead of the revocation
    wait_for(lambda: site.held() == 0)
    assert "Traceback" not in site.server.output, site.server.output
