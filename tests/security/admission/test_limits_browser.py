"""What a real EventSource does with a limit of one stream: reloads, two tabs that both want it, and the ways to say no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.security.admission.conftest import Site, Sites
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


def open_page(browser: Chrome, site: Site, query: str = "") -> None:
    browser.get(site.server.url + "/page")
    browser.execute_script(OPEN, query)


def look(browser: Chrome, expression: str) -> Any:
    return browser.execute_script(f"return {expression}")


def test_a_reload_never_locks_a_user_out_and_two_tabs_do_not_throw_each_other_out(
    browser: Chrome, sites: Sites
) -> None:
    site = sites.start("uvicorn", max_streams_per_user=1, retry_min_ms=200, retry_max_ms=400)
    bridge = sites.bridge()
    for _ in range(10):  # quick reloads: each new page wins over what the last one left behind
        open_page(browser, site)
    wait_for(lambda: look(browser, "source.readyState") == OPENED and look(browser, "opens") == 1)
    bridge.publish("a", "one")
    wait_for(lambda: look(browser, "seen") == ["one"])
    stays(lambda: look(browser, "why") == [], 1)

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


@pytest.mark.parametrize("over_limit", ["reject", "retry"])
def test_the_other_ways(browser: Chrome, sites: Sites, over_limit: str) -> None:
    site = sites.start("uvicorn", max_streams_per_user=1, over_limit=over_limit, retry_min_ms=200, retry_max_ms=400)
    holder = site.stream("a", "ada")
    open_page(browser, site)
    if over_limit == "reject":
        wait_for(lambda: look(browser, "source.readyState") == CLOSED)  # 429 ends an EventSource for good
        assert look(browser, "opens") == 0
    else:
        wait_for(lambda: len(look(browser, "why")) >= 2)  # it comes again and again …
        assert set(look(browser, "why")) == {"limit"}
        holder.close()  # … until there is room
        wait_for(lambda: look(browser, "begun") == 1)
        sites.bridge().publish("a", "in")
        wait_for(lambda: look(browser, "seen") == ["in"])


def test_a_revoked_event_source_is_told_and_stops(browser: Chrome, sites: Sites) -> None:
    site = sites.start("uvicorn", retry_min_ms=200, retry_max_ms=400)
    open_page(browser, site)
    wait_for(lambda: look(browser, "opens") == 1)
    sites.bridge().revoke(user="ada")
    wait_for(lambda: look(browser, "source.readyState") == CLOSED)
    assert look(browser, "why") == ["revoked"]
    assert look(browser, "opens") == 1
