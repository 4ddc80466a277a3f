"""Both demos as a newcomer starts them, one process tree for all tests of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.support.browser import laptop
from tests.support.process import Process, free_port
from tests.support.wait import wait_for


@contextmanager
def launched(module: str, *arguments: str, env: dict[str, str] | None = None) -> Iterator[tuple[Process, str]]:
    """`python -m module` on a free port, as (process, address); stopped as by Ctrl-C's sibling, SIGTERM."""
    port = free_port()
    process = Process(["python", "-m", module, "--port", str(port), *arguments], env=env)
    try:
        # the address is printed when everything is up, the Celery worker and Redis too
        wait_for(lambda: f":{port}/" in process.output or not process.alive, 40, what=f"{module}'s address")
        assert process.alive, process.output
        yield process, f"http://127.0.0.1:{port}/"
    finally:
        process.terminate(15)
        print(process.output)  # pytest shows it where a test failed


@pytest.fixture(scope="module")
def django_demo() -> Iterator[str]:
    with launched("demo_django") as (_, url):
        yield url


class Page:
    """A page in the browser, by CSS selectors."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def text(self, selector: str) -> str:
        """The text of the last match; empty if there is none. Read in one step, since pages change under our eyes."""
        script = "return [...document.querySelectorAll(arguments[0])].at(-1)?.textContent ?? ''"
        return str(self.browser.execute_script(script, selector)).strip()

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
        return list(self.browser.execute_script(script, selector))

    def number(self, selector: str) -> int:
        return int(self.text(selector).replace(",", "") or 0)

    def attribute(self, selector: str, name: str) -> str:
        script = "return document.querySelector(arguments[0])?.getAttribute(arguments[1]) ?? ''"
        return str(self.browser.execute_script(script, selector, name))

    def click(self, selector: str) -> None:
        self.browser.find_element(By.CSS_SELECTOR, selector).click()

    def type(self, selector: str, text: str) -> None:
        field = self.browser.find_element(By.CSS_SELECTOR, selector)
        field.clear()
        field.send_keys(text)

    def width_beyond_window(self) -> int:
        """Pixels that a reader would have to scroll sideways for."""
        script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.browser.execute_script(script))

    def complaints(self) -> list[str]:
        """What the console holds besides connections that a test has cut."""
        entries = self.browser.get_log("browser")
        return [entry["message"] for entry in entries if "ERR_INCOMPLETE_CHUNKED_ENCODING" not in entry["message"]]


@pytest.fixture
def open_page(browser: Chrome) -> Iterator[Callable[[str], Page]]:
    def open_page(url: str) -> Page:
        browser.get(url)
        return Page(browser)

    yield open_page
    laptop(browser)
