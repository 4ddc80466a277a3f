"""Fixtures that every test may use; what they stand on is in tests/support."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.requires import require

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.support.firefox import Firefox

# A loaded machine is slow, not wrong; the blob lets anyone repeat a failure that CI found.
settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")

# A shell starts its background jobs with SIGINT ignored, and children inherit that; a handler they do not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            require(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is required, a test that skips itself fails too."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("SSE_BRIDGE_REQUIRE_ALL") == "1":
        report.outcome = "failed"
        report.longrepr = f"SSE_BRIDGE_REQUIRE_ALL=1, but this test skipped itself: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The run's Redis: shared, so leave it running and use channel names or a prefix of your own."""
    require("redis7")
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """The address of the run's Redis."""
    return redis_server.url


@pytest.fixture
def private_redis() -> Iterator[Callable[..., RedisServer]]:
    """Starts servers of the test's own, which it may kill: `private_redis(persistent=True, config=[...])`."""
    require("redis7")
    with ExitStack() as stack:

        def start(**options: object) -> RedisServer:
            return stack.enter_context(RedisServer(**options))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def proxy() -> Iterator[Callable[[int], Proxy]]:
    """Puts a bad network in front of a port: `proxy(server.port)`."""
    with ExitStack() as stack:
        yield lambda target: stack.enter_context(Proxy(target))


@contextmanager
def _chromium() -> Iterator[Chrome]:
    from tests.support.browser import chromium

    with chromium() as driver:
        yield driver


@pytest.fixture(scope="session")
def shared_browser() -> Iterator[Chrome]:
    require("chromium")
    with _chromium() as driver:
        yield driver


@pytest.fixture
def browser(shared_browser: Chrome) -> Iterator[Chrome]:
    """Chromium on an empty page in a window of its own; starting one per test would cost two seconds each."""
    first = shared_browser.current_window_handle
    shared_browser.switch_to.new_window("tab")
    shared_browser.get_log("browser")
    yield shared_browser
    for handle in shared_browser.window_handles:
        if handle != first:
            shared_browser.switch_to.window(handle)
            shared_browser.delete_all_cookies()
            shared_browser.close()
    shared_browser.switch_to.window(first)


@pytest.fixture(scope="session")
def shared_firefox() -> Iterator[Firefox]:
    from tests.support.firefox import firefox

    require("firefox")
    with firefox() as driver:
        yield driver


@pytest.fixture
def firefox_browser(shared_firefox: Firefox) -> Iterator[Firefox]:
    """Firefox on an empty page; starting one per test would cost three seconds each."""
    shared_firefox.get("about:blank")
    yield shared_firefox
    shared_firefox.get("about:blank")
