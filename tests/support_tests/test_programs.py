"""Browser, Node and gevent programs run and answer."""

from __future__ import annotations

import pytest

from tests.support.browser import laptop, phone
from tests.support.gevent_run import gevent_run, gevent_start
from tests.support.node import lines, node_run, node_start
from tests.support.requires import needs_chromium, needs_node
from tests.support.servers import serve
from tests.support.wait import wait_for


@needs_chromium
def test_a_browser_follows_a_stream_to_its_end(browser) -> None:
    with serve("uvicorn", "tests.apps.ticks:asgi") as server:
        browser.get(server.url)
        wait_for(lambda: browser.title == "5")
        # The body's end makes it reconnect after three seconds; the 204 then closes it for good.
        wait_for(lambda: browser.find_element("id", "out").text == "state 2")


@needs_chromium
def test_a_page_as_a_phone_sees_it(browser) -> None:
    browser.get("data:text/html,<meta name=viewport content=width=device-width><p>x")
    phone(browser)
    wait_for(lambda: browser.execute_script("return innerWidth") == 390)
    laptop(browser)
    wait_for(lambda: browser.execute_script("return innerWidth") > 1000)


@needs_node
def test_node_finds_the_packages() -> None:
    program = 'import { EventSource } from "eventsource"; console.log(typeof EventSource, process.argv.slice(1).join())'
    assert node_run(program, "a", "b") == "function a,b\n"


@needs_node
def test_npm_eventsource_follows_a_stream() -> None:
    with (
        serve("uvicorn", "tests.apps.ticks:asgi") as server,
        node_start("follow.mjs", f"{server.url}/events") as program,
    ):
        wait_for(lambda: [line["id"] for line in lines(program) if "id" in line][:3] == ["1", "2", "3"])


def test_gevent_is_patched() -> None:
    source = """
        import sys, threading
        from gevent.monkey import is_module_patched
        print(is_module_patched("threading"), sys.argv[1:])
    """
    assert gevent_run(source, "a") == "True ['a']\n"


def test_a_failing_program_shows_its_output() -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        gevent_run("1 / 0")


def test_a_hanging_program_is_killed() -> None:
    with gevent_start("import time; time.sleep(60)") as program:
        with pytest.raises(AssertionError, match="still ran"):
            program.wait(1)
        assert not program.alive
