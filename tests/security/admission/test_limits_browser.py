"""What a real EventSource does with a limit of one stream: reloads, two tabs that both want it, and the ways to say no."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.security.admission.conftest import Site, Sites, reason
from tests.support.requires import needs_chromium, needs_redis7
from tests.support.wait import stays, wait_for

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [needs_redis7, needs_chromium]

OPEN = """
window.seen = []; window.why = []; window.opens = 0; window.begun = 0;
window.source = new EventSource('/events/?channel=a&user=ada' + (arguments[0] || ''));
source.onopen = () => opens++;
source.onmessage = event => seen.push(JSON.parse(event.data));
source.addEventListener('stream.open', () => begun++);
source.addEventListener('stream.close', event => why.push(JSON.parse(event.data).reason));
"""
CLOSED, OPENED = 2, 1
POLICIES = ("replace_oldest", "reject", "retry")


def open_page(browser: Chrome, site: Site, query: str = "") -> None:
    browser.get(site.server.url + "/page")
    browser.execute_script(OPEN, query)


def look(browser: Chrome, expression: str) -> Any:
    return browser.execute_script(f"return {expression}")


def judged(browser: Chrome) -> bool:
    """Whether the newest page has been let in or refused for good."""
    return bool(wait_for(lambda: look(browser, "source.readyState") == CLOSED or look(browser, "begun")))


def let_in(browser: Chrome, site: Site) -> bool:
    """Whether a page that is loaded now gets its stream."""
    open_page(browser, site)
    return judged(browser) and look(browser, "source.readyState") == OPENED


@pytest.mark.parametrize("over_limit", POLICIES)
def test_quick_reloads_while_somebody_holds_the_stream_and_when_nobody_does(
    browser: Chrome, sites: Sites, over_limit: str
) -> None:
    site = sites.start("uvicorn", max_streams_per_user=1, over_limit=over_limit, retry_min_ms=200, retry_max_ms=400)
    bridge = sites.bridge()
    holder = site.stream("a", "ada")
    for _ in range(10):
        open_page(browser, site)
    if over_limit == "replace_oldest":
        assert reason(holder) == "replaced"
    else:
        if over_limit == "reject":
            wait_for(lambda: look(browser, "source.readyState") == CLOSED)  # 429 ends an EventSource for good
            assert look(browser, "opens") == 0
        else:
            wait_for(lambda: len(look(browser, "why")) >= 2)  # it comes again and again
            assert set(look(browser, "why")) == {"limit"}
        bridge.publish("a", "of the holder")
        assert holder.take(1)[0].data == '"of the holder"'
        holder.close()
    for _ in range(10):  # what each page leaves behind still holds the stream when the next one comes
        open_page(browser, site)
    if over_limit == "reject":
        judged(browser)
        wait_for(lambda: let_in(browser, site))  # a reload that was too quick is refused, a later one is not
    wait_for(lambda: look(browser, "begun") == 1)
    wait_for(lambda: site.held() == 1)
    bridge.publish("a", "one")
    wait_for(lambda: look(browser, "seen") == ["one"])
    stays(lambda: look(browser, "begun") == 1 and set(look(browser, "why")) <= {"limit"})


@pytest.mark.soak
def test_a_server_killed_under_an_event_source_comes_back(browser: Chrome, sites_on: Any, redis_url: str) -> None:
    """A process that is killed gives its slots back after ten seconds; until then its clients are over the limit."""
    settings = {"max_streams_per_user": 1, "retry_min_ms": 200, "retry_max_ms": 400}
    each = {over_limit: sites_on(redis_url) for over_limit in POLICIES}  # a prefix and a tab of its own for each
    tabs, killed = {}, {}
    for over_limit, sites in each.items():
        browser.switch_to.new_window("tab")
        tabs[over_limit] = browser.current_window_handle
        killed[over_limit] = site = sites.start("uvicorn", over_limit=over_limit, **settings)
        open_page(browser, site)
        wait_for(lambda: look(browser, "begun") == 1)
        sites.bridge().publish("a", 1)
        wait_for(lambda: look(browser, "seen") == [1])
    for over_limit, site in killed.items():
        site.server.process.kill()
        each[over_limit].bridge().publish("a", 2)
    began = time.monotonic()
    back = {
        over_limit: sites.start("uvicorn", port=killed[over_limit].server.port, over_limit=over_limit, **settings)
        for over_limit, sites in each.items()
    }
    browser.switch_to.window(tabs["replace_oldest"])
    wait_for(lambda: look(browser, "seen") == [1, 2])  # it takes the place of the dead process's
    browser.switch_to.window(tabs["reject"])
    wait_for(lambda: look(browser, "source.readyState") == CLOSED)  # the dead process's stream still counts
    assert look(browser, "seen") == [1]
    browser.switch_to.window(tabs["retry"])
    wait_for(lambda: "limit" in look(browser, "why"))
    wait_for(lambda: look(browser, "seen") == [1, 2])
    assert time.monotonic() - began > 3, "by its owner's silence, not at once"
    browser.switch_to.window(tabs["reject"])
    wait_for(lambda: let_in(browser, back["reject"]))
    browser.switch_to.window(tabs["replace_oldest"])  # the dead owner's end throws nobody out
    each["replace_oldest"].bridge().publish("a", 3)
    wait_for(lambda: look(browser, "seen") == [1, 2, 3])
    assert look(browser, "why") == []


def test_two_tabs_do_not_throw_each_other_out(browser: Chrome, sites: Sites) -> None:
    site = sites.start("uvicorn", max_streams_per_user=1, retry_min_ms=200, retry_max_ms=400)
    bridge = sites.bridge()
    open_page(browser, site)
    bridge.publish("a", "one")
    wait_for(lambda: look(browser, "begun") == 1)
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    second = browser.current_window_handle
    open_page(browser, site)
    wait_for(lambda: look(browser, "opens") == 1)
    browser.switch_to.window(first)
    # the first tab is told why, comes back once, and stops for good at the 204
    wait_for(lambda: look(browser, "source.readyState") == CLOSED)
    assert look(browser, "why") == ["replaced"]
    browser.switch_to.window(second)
    stays(lambda: look(browser, "opens") == 1 and look(browser, "why") == [], 2)
    bridge.publish("a", "two")
    wait_for(lambda: look(browser, "seen") == ["two"])

    browser.switch_to.window(first)  # its user wants the stream back: a new EventSource, from where the old one stood
    browser.execute_script(OPEN, "&after=earliest")
    wait_for(lambda: look(browser, "seen") == ["one", "two"])
    browser.switch_to.window(second)
    wait_for(lambda: look(browser, "source.readyState") == CLOSED)


def test_a_revoked_event_source_is_told_and_stops(browser: Chrome, sites: Sites) -> None:
    site = sites.start("uvicorn", retry_min_ms=200, retry_max_ms=400)
    open_page(browser, site)
    wait_for(lambda: look(browser, "opens") == 1)
    sites.bridge().revoke(user="ada")
    wait_for(lambda: look(browser, "source.readyState") == CLOSED)
    assert look(browser, "why") == ["revoked"]
    assert look(browser, "opens") == 1
