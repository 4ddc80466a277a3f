"""Headless Chromium through chromedriver, both from PATH."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium(*arguments: str, width: int = 1280, height: int = 900) -> Iterator[Chrome]:
    """A browser with a fresh profile; its console is in `driver.get_log("browser")`.

    Args:
        arguments: Further command line switches.
        width: Of the window in CSS pixels.
        height: Of the window in CSS pixels.
    """
    profile = tempfile.mkdtemp(prefix="sse-bridge-chromium-")
    options = ChromeOptions()
    for argument in (*ARGUMENTS, f"--window-size={width},{height}", f"--user-data-dir={profile}", *arguments):
        options.add_argument(argument)
    # Both paths are given, so that selenium never looks for a download.
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(executable_path=shutil.which("chromedriver")))
    try:
        driver.set_page_load_timeout(30)
        driver.set_script_timeout(30)
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


def phone(driver: Chrome, width: int = 390, height: int = 844) -> None:
    """Lay the page out as on a phone; the window alone does not get narrower than 500 pixels."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True},
    )


def laptop(driver: Chrome) -> None:
    """Undo `phone()`."""
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
