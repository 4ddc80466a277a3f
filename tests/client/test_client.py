"""client.js against a real server, in Chromium, Firefox and Node."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from sse_bridge import Event
from tests.client.conftest import Client, Site
from tests.support.proxy import Proxy
from tests.support.requires import needs_redis7
from tests.support.wait import stays, wait_for

pytestmark = needs_redis7

Open = Callable[..., Client]
decided = pytest.mark.parametrize("runtime", ["node"])  # what the client decides by itself is the same everywhere
STREAM = {"content-type": "text/event-stream"}


def test_follows_to_the_stored_end_and_asks_no_more(site: Site, client: Open) -> None:
    reader = client(site)
    reader.follow(site.url)
    wait_for(lambda: "open" in reader.states and reader.ask("log.length"))
    site.publish(1, {"a": "é\u2028"}, "two\nlines")
    wait_for(lambda: len(reader.data) == 3)
    assert reader.data == [1, {"a": "é\u2028"}, "two\nlines"]
    assert reader.ask("[stream.readyState, stream.lastEventId]") == [1, reader.ask("log.at(-1)[1]")]
    site.bridge.close_channel(site.channel, reason="completed")
    wait_for(lambda: reader.closed == "ended")
    assert reader.ask("told") == [["end", {"channel": site.channel, "reason": "completed"}]]
    assert reader.ask("stream.readyState") == 2
    stays(lambda: len(site.asked()) == 1, 0.5)
    (request,) = site.asked()
    assert request["headers"]["accept"] == "text/event-stream"
    assert "last-event-id" not in request["headers"]


@decided
def test_one_end_of_two_is_not_the_end(site: Site, client: Open) -> None:
    other = f"{site.channel}-2"
    reader = client(site)
    reader.follow(f"{site.url}&channel={other}")
    wait_for(lambda: reader.ask("log.length"))
    site.bridge.close_channel(site.channel)
    wait_for(lambda: len(reader.ask("told")) == 1)
    site.bridge.publish(other, "still")
    wait_for(lambda: reader.data == ["still"])
    site.bridge.close_channel(other)
    wait_for(lambda: reader.closed == "ended")
    assert [end["channel"] for _, end in reader.ask("told")] == [site.channel, other]
    assert len(site.asked()) == 1


def test_resumes_by_header_and_is_told_of_a_gap(site: Site, client: Open) -> None:
    reader = client(site)
    site.publish(0)
    reader.follow(f"{site.url}&last=1")
    wait_for(lambda: reader.data == [0])
    last = reader.ask("stream.lastEventId")
    reader.ask("stream.close()")
    wait_for(lambda: site.readers() == 0)
    site.bridge.publish_many([Event(site.channel, data=n) for n in range(1, 301)])  # the log is trimmed when it is due
    reader.ask("stream.reconnect()")
    wait_for(lambda: reader.data[-1] == 300)
    wait_for(lambda: reader.ask("told"))
    first = reader.data[1]
    assert reader.data == [0, *range(first, 301)]
    assert first > 1
    assert site.asked()[-1]["headers"]["last-event-id"] == last
    ((_, gap),) = reader.ask("told")
    assert (gap["channel"], gap["reason"]) == (site.channel, "trimmed")
    assert gap["missed"] in (first - 1, None)


@decided
def test_resumes_by_query(site: Site, client: Open) -> None:
    reader = client(site)
    site.publish(1)
    reader.follow(f"{site.url}&after=earliest", resume="query")
    wait_for(lambda: reader.data == [1])
    reader.ask("stream.reconnect()")
    site.publish(2)
    wait_for(lambda: reader.data == [1, 2])
    first, second = site.asked()
    assert first["query"]["after"] == "earliest"
    assert second["query"]["after"].count("-") == 3
    assert "last-event-id" not in second["headers"]


def test_comes_back_when_the_server_says_so(site: Site, client: Open) -> None:
    reader = client(site)
    site.plan((429, {"Retry-After": "1"}, "later"), (502, {}, ""), (503, {"Retry-After": "0"}, ""))
    reader.follow(site.url, retrySeconds=0.2)
    wait_for(lambda: "open" in reader.states)
    site.publish("here")
    wait_for(lambda: reader.data == ["here"])
    requests = site.asked()
    assert len(requests) == 4
    assert requests[1]["at"] - requests[0]["at"] >= 0.99
    assert [status for kind, status, delay in reader.ask("told") if delay] == [429, 502, 503]


@decided
def test_some_answers_are_final(site: Site, client: Open) -> None:
    reader = client(site)
    for status, headers, reason in [
        (204, {}, "ended"),
        (401, {}, "refused"),
        (403, {}, "refused"),
        (404, {}, "refused"),
        (200, {"content-type": "text/html"}, "refused"),
    ]:
        site.plan((status, headers, ""))
        before = len(site.asked())
        reader.follow(site.url)
        wait_for(lambda reason=reason: reader.closed == reason)
        assert "open" not in reader.states
        assert reader.ask("told") == ([] if status == 204 else [["error", status, None]])
        stays(lambda before=before: len(site.asked()) == before + 1, 0.2)


def test_post_with_headers_and_a_fresh_token(site: Site, client: Open) -> None:
    reader = client(site)
    reader.ask("globalThis.token = 1")
    body = json.dumps({"question": "ü"})
    reader.follow(site.url, method="POST", body=body, fixed={"Content-Type": "application/json", "X-Own": "1"})
    wait_for(lambda: "open" in reader.states and reader.ask("log.length"))
    reader.ask("stream.reconnect()")
    wait_for(lambda: len(site.asked()) == 2)
    reader.ask("delete globalThis.token")
    first, second = site.asked()
    for request in (first, second):
        assert (request["method"], request["body"]) == ("POST", body)
        assert (request["headers"]["content-type"], request["headers"]["x-own"]) == ("application/json", "1")
    assert first["headers"]["authorization"] != second["headers"]["authorization"]
    assert second["headers"]["last-event-id"]


@decided
def test_a_post_that_cannot_be_resumed_is_not_repeated(site: Site, client: Open) -> None:
    reader = client(site)
    site.plan((200, STREAM, "data: no id\n\n"))
    reader.follow(site.url, method="POST", body="x")
    wait_for(lambda: reader.closed == "refused")
    assert len(site.asked()) == 1
    site.plan((200, STREAM, "data: no id\n\n"), (503, {}, ""))
    reader.follow(site.url, method="POST", body="x", repeat=True)
    wait_for(lambda: len(site.asked()) >= 4 and "open" in reader.states)


@decided
def test_what_a_server_may_not_forge_and_what_a_listener_may_do(site: Site, client: Open) -> None:
    reader = client(site)
    text = (
        "event: error\ndata: x\n\nevent: open\ndata: x\n\nid: 7\n\nid: a\0b\nretry: 1x\ndata: 1\n\ndata: 2\n\ndata: 3"
    )
    site.plan((200, STREAM, text))
    reader.runtime.execute_script(
        """
        globalThis.log = []; globalThis.states = []; globalThis.opened = 0;
        globalThis.stream = new EventStream(arguments[0], { onState: (s, d) => states.push([s, d.reason ?? null, null]) });
        stream.addEventListener("open", () => opened++);
        stream.addEventListener("message", (e) => { log.push([e.type, e.lastEventId, e.data, e.origin]); stream.close(); });
        """,
        site.url,
    )
    wait_for(lambda: reader.closed == "closed")
    assert site.server is not None
    assert reader.ask("[log, opened]") == [[["message", "7", "1", site.server.url]], 1]
    stays(lambda: len(site.asked()) == 1)


@pytest.mark.parametrize("runtime", ["chromium", "node"])  # it is about timers, and those of browsers are alike
def test_a_silent_connection_is_given_up(site: Site, client: Open, proxy: Callable[[int], Proxy]) -> None:
    assert site.server is not None
    network = proxy(site.server.port)
    reader = client(site, network.url)
    reader.follow(network.url + site.path, stallSeconds=3, maxRetrySeconds=0.5)
    wait_for(lambda: reader.ask("log.length"))
    stays(lambda: reader.states == ["connecting", "open"], 4)  # heartbeats are life
    network.hold()
    site.publish("while it was silent")
    wait_for(lambda: "waiting" in reader.states)
    network.cut()
    network.flow()
    wait_for(lambda: reader.data == ["while it was silent"])


def test_survives_the_servers_death(site: Site, redis_url: str, client: Open) -> None:
    own = Site(redis_url)
    own.channel = site.channel
    with own.bridge:
        with own.serve() as first:
            reader = client(own)
            reader.follow(own.url, maxRetrySeconds=0.5)
            wait_for(lambda: reader.ask("log.length"))
            own.publish(1)
            wait_for(lambda: reader.data == [1])
            first.process.kill()
        own.publish(2)
        wait_for(lambda: reader.states.count("connecting") >= 3)
        with own.serve(first.port):
            own.publish(3)
            wait_for(lambda: reader.data == [1, 2, 3])
            assert own.asked()[0]["headers"]["last-event-id"]
            reader.ask("stream.close()")


@decided
def test_a_signal_closes_it_for_good(site: Site, client: Open) -> None:
    reader = client(site)
    reader.runtime.execute_script(
        """
        globalThis.states = []; globalThis.abort = new AbortController();
        const onState = (state, detail) => states.push([state, detail.reason ?? null, null]);
        globalThis.stream = new EventStream(arguments[0], { signal: abort.signal, onState });
        """,
        site.url,
    )
    wait_for(lambda: "open" in reader.states)
    reader.ask("abort.abort()")
    assert reader.closed == "closed"
    reader.ask("stream.reconnect()")
    stays(lambda: len(site.asked()) == 1 and reader.closed == "closed")
    wait_for(lambda: site.readers() == 0)


@decided
def test_headers_that_fail_are_asked_for_again_and_a_bad_request_is_not_made(site: Site, client: Open) -> None:
    reader = client(site)
    reader.runtime.execute_script(
        """
        globalThis.states = []; globalThis.tokens = 0;
        globalThis.stream = new EventStream(arguments[0], {
          method: "POST", body: "x", retrySeconds: 0.1,
          headers: async () => { if (!tokens++) throw new Error("no token yet"); return { Authorization: "x" }; },
          onState: (state, detail) => states.push([state, detail.reason ?? null, null]),
        });
        """,
        site.url,
    )
    wait_for(lambda: "open" in reader.states)
    assert reader.states == ["connecting", "waiting", "connecting", "open"]
    assert len(site.asked()) == 1
    reader.follow(site.url, body="a GET has none")
    wait_for(lambda: reader.closed == "refused")
    stays(lambda: len(site.asked()) == 1)


@decided
def test_the_waits_have_full_jitter(site: Site, client: Open) -> None:
    reader = client(site)
    delays = reader.runtime.execute_script(
        """
        const real = globalThis.setTimeout;
        globalThis.setTimeout = (then, ms) => real(then, ms > 40_000 ? ms : 0); // all but the stall's
        const delays = [];
        return new Promise((resolve) => {
          const stream = new EventStream(arguments[0], {
            fetch: async () => { throw new TypeError("no network"); },
            onState: (state, { delay }) => {
              if (state !== "waiting" || delays.push(delay) < 40) return;
              stream.close();
              globalThis.setTimeout = real;
              resolve(delays);
            },
          });
        });
        """,
        site.url,
    )
    limits = [min(30_000, 1000 * 2**n) for n in range(40)]
    assert all(100 <= delay <= limit for delay, limit in zip(delays, limits, strict=True)), delays
    assert min(delays[5:]) < 15_000 < max(delays), delays  # false once in 10^10 runs
