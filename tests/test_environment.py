"""What surrounds a process must not keep the library from starting: variables of others, platforms that lack calls."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sse_bridge import Bridge
from sse_bridge.config import Settings
from sse_bridge.environment import names_under_prefix
from sse_bridge.errors import ConfigurationError
from tests.support.process import ROOT

# As Kubernetes 1.31 writes them for Services called sse-bridge and sse-bridge-web, and docker 27 for `--link`.
SERVICE = {
    "SSE_BRIDGE_SERVICE_HOST": "10.0.0.1",
    "SSE_BRIDGE_SERVICE_PORT": "80",
    "SSE_BRIDGE_SERVICE_PORT_HTTP": "80",
    "SSE_BRIDGE_PORT": "tcp://10.0.0.1:80",
    "SSE_BRIDGE_PORT_80_TCP": "tcp://10.0.0.1:80",
    "SSE_BRIDGE_PORT_80_TCP_PROTO": "tcp",
    "SSE_BRIDGE_PORT_80_TCP_PORT": "80",
    "SSE_BRIDGE_PORT_80_TCP_ADDR": "10.0.0.1",
    "SSE_BRIDGE_WEB_SERVICE_HOST": "fd00::1",
    "SSE_BRIDGE_WEB_SERVICE_PORT_METRICS_2": "9100",
    "SSE_BRIDGE_WEB_PORT": "udp://[fd00::1]:53",
    "SSE_BRIDGE_WEB_PORT_53_UDP": "udp://[fd00::1]:53",
    "SSE_BRIDGE_WEB_PORT_53_UDP_ADDR": "fd00::1",
}
LINK = {
    "SSE_BRIDGE_NAME": "/web/sse_bridge",
    "SSE_BRIDGE_PORT": "tcp://172.17.0.2:6379",
    "SSE_BRIDGE_PORT_6379_TCP_START": "tcp://172.17.0.2:6379",
    "SSE_BRIDGE_PORT_6379_TCP_PORT_END": "6380",
    "SSE_BRIDGE_ENV_PATH": "/usr/bin",
    "SSE_BRIDGE_ENV_URL": "",
}


@pytest.mark.parametrize("variables", [SERVICE, LINK])
def test_variables_of_services_and_links_are_not_ours(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSE_BRIDGE_REPLAY_SIZE", "7")
    assert Settings.load().replay_size == 7
    with Bridge("memory://") as bridge:
        assert bridge.publish("a", 1) is not None


def test_all_of_it_in_a_process_that_configures_django() -> None:
    program = (
        "import django; from django.conf import settings; settings.configure(INSTALLED_APPS=['sse_bridge_django'], "
        "SSE_BRIDGE={'URL': 'memory://'}); django.setup(); from sse_bridge_django import publish; print(publish('a', 1))"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    env = {**os.environ, **SERVICE, **LINK, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("SSE_BRIDGE_HEARTBEAT_SECOND", "5", "did you mean 'heartbeat_seconds'"),
        ("SSE_BRIDGE_REPLAY_SISE", "5", "did you mean 'replay_size'"),
        ("SSE_BRIDGE_PORT", "8000", "SSE_BRIDGE_PORT"),  # no Service's: somebody means something by it
        ("SSE_BRIDGE_SERVICE_PORT", "http", "SSE_BRIDGE_SERVICE_PORT"),
        ("SSE_BRIDGE_NAME", "mine", "SSE_BRIDGE_NAME"),
        ("SSE_BRIDGE_ENV_URL", "redis://", "SSE_BRIDGE_ENV_URL"),  # no link, so no link's
    ],
)
def test_a_mistake_is_still_told(name: str, value: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=hint) as error:
        Settings.load()
    assert name in str(error.value)


def test_every_setting_is_read_from_the_environment() -> None:
    environ = {f"SSE_BRIDGE_{name.upper()}": "tcp://a:1" for name in Settings.model_fields}
    assert list(names_under_prefix(environ)) == list(environ)


def test_an_address_that_was_read_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_BRIDGE_URL", "memory://\n")
    assert Settings.load().url == "memory://"
    assert Bridge().backend.name == "memory"


# What Windows lacks, and what eventlet's monkey patch takes away, before anything of ours is imported.
POOR = """
import asyncio, os, select, signal
for module, names in (
    (os, ("register_at_fork", "fork", "getuid", "getppid", "pipe2")), (select, ("poll", "epoll")),
    (signal, ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "pthread_sigmask", "pthread_kill")),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
import sse_bridge, sse_bridge.streams, sse_bridge.testing, sse_bridge.redaction, sse_bridge.metrics, sse_bridge.cli
from sse_bridge import Bridge
from sse_bridge.errors import ConfigurationError
from sse_bridge.testing import asgi_stream
import sse_bridge_asgi

with Bridge("memory://") as bridge, bridge.subscribe("a") as stream:
    assert stream.wait_ready(60)
    bridge.publish("a", 1)
    assert stream.next(60).data == 1

async def main():
    async with Bridge("memory://", compression="gzip") as bridge:
        async with bridge.asubscribe("a") as stream:
            assert await stream.wait_ready(60)
            await bridge.apublish("a", 2)
            assert (await stream.next(60)).data == 2
        app = sse_bridge_asgi.EventStreamApp(bridge, channels=["a"], start="earliest")
        async with asgi_stream(app, "/") as answer:
            assert (await answer.next()).event == "stream.open"
            assert (await answer.next()).json() == 2

asyncio.run(main())
try:
    Bridge("redis://localhost").backend
except ConfigurationError as error:
    print(error)
"""


def test_platforms_that_lack_calls() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "integrations")])}
    done = subprocess.run(
        [sys.executable, "-c", POOR], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "needs select.poll" in done.stdout
