"""TLS from the URL: verified, refused when it cannot be, and carrying appends, reads and the live link."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sse_bridge import Bridge
from sse_bridge.errors import BackendError
from tests.backends.sides import Recorder, Side, datas
from tests.support.process import free_port
from tests.support.redis_server import RedisServer
from tests.support.requires import require
from tests.support.wait import await_for


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("openssl")
    require("redis_tls")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def tls_port(certificate: Path, private_redis: Callable[..., RedisServer]) -> int:
    port = free_port()
    private_redis(
        config=[
            f"tls-port {port}",
            f"tls-cert-file {certificate}/cert.pem",
            f"tls-key-file {certificate}/key.pem",
            "tls-auth-clients no",
        ]
    )
    return port


async def test_who_waits_is_told_of_a_certificate_that_cannot_be_verified(tls_port: int) -> None:
    async with Bridge(f"rediss://localhost:{tls_port}/0") as bridge:
        with pytest.raises(BackendError, match="certificate") as told:
            await asyncio.wait_for(bridge.asubscribe("a").wait_ready(), 60)
        assert told.value.permanent


async def test_everything_over_tls(certificate: Path, tls_port: int, make_side: Callable[..., Side]) -> None:
    side = make_side(f"rediss://localhost:{tls_port}/0?ssl_ca_certs={certificate}/cert.pem")
    sink = Recorder()
    upstream = side.upstream(sink)
    upstream.subscribe(["a"])
    await await_for(lambda: sink.confirmations("a"))
    await side.publish("a", b"1")
    await side.publish("a", b"x" * 300_000)
    for _ in range(5):
        await side.publish("a", *[b"y" * 100] * 100)
    await side.publish("a", b"z" * 200_000, ephemeral=True)  # many TLS records in one message
    await await_for(lambda: b"z" * 200_000 in sink.data("a"))
    assert [data[:1] for data in datas(await side.page("a", limit=2))] == [b"1", b"x"]
    upstream.subscribe(["b"])
    await await_for(lambda: sink.confirmations("b"))


async def test_a_certificate_that_proves_nothing_is_told_at_once(
    certificate: Path, tls_port: int, make_side: Callable[..., Side]
) -> None:
    unknown = make_side(f"rediss://localhost:{tls_port}/0")
    with pytest.raises(BackendError, match=r"(?i)certificate"):
        await unknown.publish("a", b"1")
    other_name = make_side(f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={certificate}/cert.pem")
    with pytest.raises(BackendError, match=r"(?i)certificate"):
        await other_name.publish("a", b"1")
    anything = make_side(f"rediss://127.0.0.1:{tls_port}/0?ssl_cert_reqs=none")
    assert (await anything.publish("a", b"1")).last == 1
