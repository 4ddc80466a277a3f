"""What only pages do: go into the back/forward cache and come back, and load the client without being a module."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.client.conftest import Client, Site
from tests.support.requires import needs_redis7
from tests.support.wait import stays, wait_for

pytestmark = needs_redis7
browsers = pytest.mark.parametrize("runtime", ["chromium", "firefox"])

Open = Callable[..., Client]


@pytest.mark.parametrize("runtime", ["chromium"])
def test_closes_when_the_page_is_left_and_resumes_when_it_is_shown_again(site: Site, client: Open) -> None:
    reader = client(site)
    driver = reader.runtime
    reader.follow(site.url)
    wait_for(lambda: reader.ask("log.length"))
    site.publish(1)
    wait_for(lambda: reader.data == [1])
    reader.ask("document.title = 'the page that was left'")
    assert site.server is not None
    driver.get(f"{site.server.url}/other")  # type: ignore[attr-defined]
    wait_for(lambda: site.readers() == 0, what="the stream to be closed")
    site.publish(2)
    stays(lambda: len(site.asked()) == 1)
    driver.back()  # type: ignore[attr-defined]
    wait_for(lambda: driver.title == "the page that was left", what="the page out of the cache")  # type: ignore[attr-defined]
    site.publish(3)
    wait_for(lambda: reader.data == [1, 2, 3])
    assert reader.states == ["connecting", "open", "paused", "connecting", "open"]
    assert len(site.asked()) == 2
    reader.ask("stream.close()")


@pytest.mark.parametrize("runtime", ["firefox"])
def test_firefox_keeps_no_page_with_a_stream_and_the_stream_ends(site: Site, client: Open) -> None:
    """It decides before `pagehide`, so the page is loaded anew; what the client would do is asked by events of ours."""
    reader = client(site)
    driver = reader.runtime
    reader.follow(site.url)
    wait_for(lambda: reader.ask("log.length"))
    driver.execute_script("dispatchEvent(new PageTransitionEvent('pagehide'))")
    wait_for(lambda: site.readers() == 0)
    site.publish(1)
    stays(lambda: reader.states == ["connecting", "open", "paused"])
    driver.execute_script("dispatchEvent(new PageTransitionEvent('pageshow'))")
    wait_for(lambda: reader.data == [1])
    assert site.server is not None
    driver.get(f"{site.server.url}/other")  # type: ignore[attr-defined]
    wait_for(lambda: site.readers() == 0, what="the stream to be closed")
    driver.back()  # type: ignore[attr-defined]
    wait_for(lambda: driver.execute_script("return typeof EventStream") == "function")
    assert driver.execute_script("return typeof states") == "undefined"


@browsers
def test_a_classic_script_imports_it(site: Site, client: Open) -> None:
    reader = client(site)
    reader.runtime.execute_script(
        """
        const script = document.createElement("script");
        script.textContent = `import("/static/sse_bridge/client.js").then(({ EventStream }) => {
          globalThis.stream = new EventStream(${JSON.stringify(arguments[0])});
          stream.onmessage = (event) => { document.title = event.data; };
          stream.addEventListener("stream.open", () => { document.title = "open"; });
        });`;
        document.head.append(script);
        """,
        site.path,  # relative to the page
    )
    wait_for(lambda: reader.ask("document.title") == "open")
    site.publish("classic")
    wait_for(lambda: reader.ask("document.title") == '"classic"')


def _import(reader: Client, name: str) -> None:
    reader.runtime.execute_script("return import(arguments[0]).then(() => true)", f"/static/shop/{name}")


@browsers
def test_the_examples_of_the_docs(site: Site, client: Open) -> None:
    site.channel = "orders:42"
    before = len(site.asked())
    reader = client(site)
    reader.runtime.execute_script(
        """
        globalThis.calls = [];
        for (const name of ["reloadOrder", "showEnd", "showPaid"]) globalThis[name] = (...args) => calls.push([name, ...args]);
        globalThis.showState = (state) => { globalThis.shown = state; };
        globalThis.freshToken = async () => "fresh";
        """
    )
    _import(reader, "page.js")
    wait_for(lambda: reader.ask("globalThis.shown") == "open" and site.readers() == 1)
    site.bridge.publish(site.channel, {"total": 3}, type="order.paid")
    wait_for(lambda: reader.ask("calls.length"))
    ((name, data, id),) = reader.ask("calls")
    assert (name, data, id.count("-")) == ("showPaid", {"total": 3}, 3)
    assert site.asked()[before]["headers"]["authorization"] == "Bearer fresh"

    reader.runtime.execute_script(
        """
        globalThis.posted = [];
        const { port } = new SharedWorker("/static/shop/events.js", { type: "module" });
        port.onmessage = ({ data }) => posted.push([data.type, data.data]);
        """
    )
    wait_for(lambda: site.readers() == 2)
    wait_for(lambda: len(site.asked()) == before + 2)

    def heard() -> bool:
        site.bridge.publish(site.channel, "shared")  # again, since a reader is counted before its stream is open
        return ["message", '"shared"'] in reader.ask("posted")

    wait_for(heard)
