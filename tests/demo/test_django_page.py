"""demo_django in Chromium, as a visitor would use it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from selenium.webdriver.common.keys import Keys

from tests.demo.conftest import Page
from tests.support.browser import phone
from tests.support.requires import needs_chromium
from tests.support.wait import wait_for

pytestmark = needs_chromium


@pytest.fixture
def page(open_page: Callable[[str], Page], django_demo: str) -> Page:
    page = open_page(django_demo)
    wait_for(lambda: page.text("#status") == "live" and page.text("#ws-note") == "connection 1")
    return page


def ask(page: Page, question: str) -> None:
    page.type("#question", question + Keys.ENTER)


def count(page: Page, name: str) -> int:
    return page.number(f"[data-count={name}]")


def test_the_agent_answers_with_sources(page: Page) -> None:
    page.click(".chip")
    wait_for(lambda: page.text(".run .verdict"), 40)
    assert page.text(".run .verdict").endswith("in order, each once, over 1 connection.")
    assert len(page.text(".answer")) > 100
    assert page.texts(".citations summary"), "no source is named"
    assert page.text(".answer a") in {"[1]", "[2]", "[3]"}
    assert [text.split(":")[0] for text in page.texts(".steps li")] == [
        "Searching the documentation", "Looking up names in the library", "Writing the answer",
    ]  # fmt: skip
    page.click(".answer a")
    assert page.attribute(".citations details", "open") == ""
    assert page.complaints() == []


def test_a_cut_connection_loses_nothing(page: Page) -> None:
    ask(page, "What happens to a slow reader?")
    wait_for(lambda: count(page, "received") >= 5)
    page.click("#cut")
    wait_for(lambda: page.text(".run .resume").startswith("Connection lost"))
    at_the_cut = count(page, "received")
    wait_for(lambda: page.text(".run .resume").startswith("Resumed after token"))
    wait_for(lambda: page.text(".run .verdict"), 40)
    total = count(page, "received")
    assert page.text(".run .verdict") == f"All {total} tokens, in order, each once, over 2 connections."
    assert at_the_cut < total, "the cut came too late to prove anything"
    assert [count(page, name) for name in ("missing", "doubled", "gaps", "connections")] == [0, 0, 0, 2]
    # every request of the page was cut, so both panes have resumed as well
    wait_for(lambda: page.text("#sse-note") == page.text("#ws-note") == "connection 2")
    assert page.complaints() == []


def test_stop_reaches_the_worker(page: Page) -> None:
    ask(page, "What is a gap, and when is it told?")
    wait_for(lambda: count(page, "received") >= 3)
    page.click("#stop")
    wait_for(lambda: page.text(".run .verdict").startswith("Stopped after"))
    # the channel is closed: the stream has ended and the buttons know it
    wait_for(lambda: page.attribute("#cut", "disabled") == "" and page.attribute("#stop", "disabled") == "")
    assert page.text(".run .resume") == ""


def test_orders_reach_both_panes_and_survive_a_cut(page: Page) -> None:
    page.click("[data-post='/orders/']")
    wait_for(lambda: "sync view" in page.text("#ws-orders") and "sync view" in page.text("#sse-orders"))
    page.click("[data-post='/orders/batch/']")
    wait_for(lambda: "Celery task" in page.text("#ws-orders"))
    page.click(".orders [data-cut]")
    wait_for(lambda: page.text("#sse-note") == page.text("#ws-note") == "connection 2")
    page.click("[data-post='/orders/']")
    wait_for(lambda: "Celery task" in page.text("#sse-orders"))

    def newest(pane: str) -> str:
        return page.attribute(f"#{pane}-orders li", "data-number")

    # with the task's orders still on their way they may agree for a moment, and no more at the next look
    wait_for(lambda: page.text("#agreement").startswith("Both hold the same") and newest("sse") == newest("ws"))
    assert "gap" not in page.text("#sse-orders") + page.text("#ws-orders")


def test_the_plot_moves(page: Page) -> None:
    picture = "return document.getElementById('rate-chart').toDataURL()"
    before = page.browser.execute_script(picture)
    page.click("[data-rate='1000']")

    def fast() -> bool:  # milliseconds from publish to reader, in one process
        median = page.text("#median")
        return page.number("#rate") > 100 and median != "–" and float(median) < 1000

    wait_for(fast)
    assert page.browser.execute_script(picture) != before


def test_what_a_visitor_types_is_text(page: Page) -> None:
    ask(page, "<img src=x onerror=document.title='broken'> [1] `publish`")
    wait_for(lambda: count(page, "received") >= 3)
    page.click("#stop")
    assert page.text(".question").startswith("<img src=x")
    assert page.browser.execute_script("return document.querySelectorAll('.run img').length") == 0
    assert page.browser.title != "broken"


def test_it_fits_a_phone(page: Page) -> None:
    phone(page.browser)
    ask(page, "What does publish do?")  # the answer begins with a long line of code
    wait_for(lambda: count(page, "received") >= 15)
    page.click("#stop")
    wait_for(lambda: page.text(".run .verdict"))
    assert page.width_beyond_window() == 0


def test_a_server_that_is_gone_is_told(page: Page) -> None:
    page.browser.execute_script("window.fetch = () => Promise.reject(new TypeError('no network'))")
    ask(page, "Is anybody there?")
    wait_for(lambda: "cannot be reached" in page.text("#problem"))
