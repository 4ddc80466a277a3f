"""demo_flask in Chromium, under gunicorn's gevent workers with a Redis of its own, and without one."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.demo.conftest import Page, launched
from tests.support.browser import phone
from tests.support.requires import needs_chromium, needs_redis7
from tests.support.wait import wait_for

pytestmark = needs_chromium


def without_farewell(output: str) -> str:
    """gevent before 24 may grumble when the interpreter is already going down."""
    return re.sub(r"Exception ignored in.*?greenlet is being finalized", "", output, flags=re.DOTALL)


@needs_redis7
def test_prices_a_job_and_a_generator(open_page: Callable[[str], Page]) -> None:
    with launched("demo_flask") as (process, url):
        assert "Redis at" in process.output
        page = open_page(url)
        wait_for(lambda: page.text("#status") == "connection 1" and page.number("#count") > 8)

        page.click("#start")
        page.click("#ask .primary")
        wait_for(lambda: page.texts(".percent")[:1] == ["100 %"])
        page.click("#stop")
        wait_for(lambda: page.text("#outcome").startswith("Stopped after"))
        page.browser.refresh()  # the replayed part of the log draws the same picture
        page.click("#ask .primary")
        wait_for(lambda: page.text("#job") == "The import is complete.")
        assert page.texts(".percent") == ["100 %"] * 4
        assert page.number("#gaps") == 0

        wait_for(lambda: "tokens" in page.text("#outcome"), 40)
        received, _, published = page.text("#outcome").split(" ")[:3]
        assert received == published
        assert page.texts("#sources li")

        phone(page.browser)
        assert page.width_beyond_window() == 0
        assert page.complaints() == []
    assert "Traceback" not in without_farewell(process.output)


def test_it_says_that_it_does_without_redis(open_page: Callable[[str], Page]) -> None:
    with launched("demo_flask", "--memory") as (process, url):
        assert "Memory backend and one gevent worker" in process.output
        page = open_page(url)
        page.click("#start")
        wait_for(lambda: page.number("#count") > 3 and len(page.texts(".percent")) == 4)
