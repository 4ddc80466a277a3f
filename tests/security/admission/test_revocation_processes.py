"""Revoking over real servers: within 2 s, for replay as for live, over reconnects, and without a live link."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from sse_bridge import Bridge
from sse_bridge.admission.admissions import APART_SECONDS
from tests.security.admission.conftest import Site, Sites, reason
from tests.support.process import ROOT, child_environment
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.requires import needs_redis7
from tests.support.wait import stays, wait_for

pytestmark = needs_redis7


def until_out(servers: list[Site], bridge: Bridge, user: str) -> float:
    """Seconds from a user's revocation to the end of all of the streams and sources."""
    clients = [each for site in servers for each in (site.stream("a", user), site.tokens(user))]
    assert all(len(client.take(1)) == 1 for client in clients[1::2])
    began = time.monotonic()
    bridge.revoke(user=user)
    assert [reason(client) for client in clients] == ["revoked"] * 6
    return time.monotonic() - began


def test_a_user_is_out_within_two_seconds_everywhere_and_stays_out(sites: Sites) -> None:
    servers = [sites.start(kind) for kind in ("uvicorn", "gunicorn-gevent", "gunicorn-gthread")]
    bridge = sites.bridge()
    bridge.publish("a", "before")
    streams = [site.stream("a", "ada") for site in servers]
    others = [site.stream("a", "bob") for site in servers]
    sources = [site.tokens("ada") for site in servers] + [servers[2].tokens("ada", "&async=1")]
    other_sources = [site.tokens(user) for site in servers for user in ("bob", None)]
    for client in (*sources, *other_sources):
        assert [frame.event for frame in client.take(2, 60)] == ["stream.open", "message"]
    began = time.monotonic()
    bridge.revoke(user="ada")
    assert [reason(client) for client in (*streams, *sources)] == ["revoked"] * 7
    times = [time.monotonic() - began, *(until_out(servers, bridge, user) for user in ("eve", "dan"))]
    assert min(times) < 2, "a busy machine may stand still once"
    for site, client in zip(servers, sources, strict=False):
        assert site.tokens("ada", last_event_id=client.last_event_id).status == 403
    for client in other_sources:
        seen = len(client.frames)
        wait_for(lambda client=client, seen=seen: client.read(1) and len(client.frames) > seen)
        client.close()
    # 403, so that an EventSource stops; for live, for a resume, and for a replay from the start
    for site, client in zip(servers, streams, strict=True):
        assert site.request("a", "ada").status == 403
        assert site.request("a", "ada", last_event_id=client.last_event_id).status == 403
        assert site.request("a", "ada", "&after=earliest").status == 403
    bridge.publish("a", "after")
    assert [client.take(1)[0].data for client in others] == ['"after"'] * 3
    late = sites.start("uvicorn")  # has heard nothing, and has no link yet
    assert late.tokens("ada").status == 403
    assert late.request("a", "ada", "&after=earliest").status == 403
    late = sites.start("gunicorn-gevent")  # has said 200 before it can know
    client = late.request("a", "ada", "&after=earliest")
    assert client.status == 403 or reason(client) == "revoked"
    assert [frame.event for frame in client.frames if frame.event != "stream.close"] == []
    bridge.unrevoke(user="ada")
    wait_for(lambda: servers[0].request("a", "ada").status == 200)
    servers[1].stream("a", "ada")


def test_by_the_command_of_a_channel_and_of_a_user_on_a_channel(sites: Sites) -> None:
    site = sites.start("uvicorn")
    both, one, nobody = site.stream("a&channel=b", "ada"), site.stream("b", "ada"), site.stream("a")

    def command(*arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "sse_bridge", "revoke", "--url", sites.url, "--prefix", sites.prefix, *arguments],
            env=child_environment(), cwd=ROOT, check=True, timeout=60,
        )  # fmt: skip

    command("--user", "ada", "--channel", "a", "--seconds", "60")
    assert reason(both) == "revoked"
    assert site.request("a", "ada").status == 403
    assert site.request("a", "bob").status == 200
    command("--channel", "a")
    assert reason(nobody) == "revoked"
    assert site.request("a", "bob").status == 403
    sites.bridge().publish("b", "on")
    assert one.take(1)[0].data == '"on"'
    command("--user", "ada", "--channel", "a", "--undo")
    command("--channel", "a", "--undo")
    wait_for(lambda: site.request("a", "ada").status == 200)


def test_it_ends_by_itself(sites: Sites) -> None:
    site = sites.start("uvicorn")
    client = site.stream("a", "ada")
    sites.bridge().revoke(user="ada", seconds=5)
    assert reason(client) == "revoked"
    assert site.request("a", "ada").status == 403
    wait_for(lambda: site.request("a", "ada").status == 200)


@pytest.mark.parametrize("kind", ["uvicorn", pytest.param("gunicorn-gevent", marks=pytest.mark.soak)])
def test_without_a_live_link_users_are_sent_away_after_ten_seconds_and_let_in_when_it_is_back(
    kind: str,
    sites_on: Callable[[str], Sites],
    private_redis: Callable[..., RedisServer],
    proxy: Callable[[int], Proxy],
) -> None:
    server = private_redis()
    network = proxy(server.port)
    sites = sites_on(f"redis://127.0.0.1:{network.port}/0")
    site = sites.start(kind)
    client, gone, anonymous = site.stream("a", "ada"), site.stream("a", "bob"), site.stream("a")
    source, nobodys_source = site.tokens("ada"), site.tokens()
    assert [each.take(1)[0].event for each in (source, nobodys_source)] == ["stream.open"] * 2
    network.refuse()
    network.cut()
    began = time.monotonic()
    assert reason(client) == "unavailable"
    assert reason(gone) == "unavailable"
    assert reason(source) == "unavailable"
    assert APART_SECONDS - 1 < time.monotonic() - began < APART_SECONDS + 40
    stays(lambda: not nobodys_source.ended)
    assert client.parser.retry is not None
    stays(lambda: not anonymous.ended)  # nobody in particular stays, and resumes
    refused = site.request("a", "ada", seconds=20)
    assert refused.status == 200  # told to come back, which an error's status would forbid an EventSource
    assert reason(refused) == "unavailable"
    direct = sites_on(server.url)
    direct.prefix = sites.prefix
    direct.bridge().revoke(user="bob")
    network.accept()
    wait_for(lambda: opens(site, "ada"))
    assert site.request("a", "bob").status == 403
    direct.bridge().publish("a", "on")
    assert anonymous.take(1, 60)[0].data == '"on"'


def opens(site: object, user: str) -> bool:
    client = site.request("a", user, seconds=20)  # type: ignore[attr-defined]
    frame = client.next(60) if client.status == 200 else None
    return frame is not None and frame.event == "stream.open"


@pytest.mark.parametrize("kind", ["uvicorn", "gunicorn-gevent", "gunicorn-gthread"])
def test_an_expired_login_is_401_and_credentials_that_expire_close_the_stream(sites: Sites, kind: str) -> None:
    site = sites.start(kind)
    assert site.request("a", "expired").status == 401
    assert site.request("a", "expired", "&after=earliest").status == 401
    client = site.stream("a", "ada", "&expires=1")
    assert reason(client) == "expired"
