"""Nothing that client.js waits for can hang it: each wait ends with the run, and what comes later is dropped.

In Node, with a fetch of the test's own that answers as it is told and heeds no signal.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.client.conftest import CLIENT
from tests.support.node import node_run
from tests.support.requires import needs_node

pytestmark = needs_node

PRELUDE = """
const { EventStream } = await import(%s);
new Request("http://a.example/"); // Node loads its fetch at the first use: on a loaded machine that outlasts the waits below
const never = new Promise(() => {});
const states = [], said = {}, requests = [];
const frame = (text) => new TextEncoder().encode(text);
function body(...pieces) { // it stays open
  return new ReadableStream({
    start(controller) { for (const piece of pieces) controller.enqueue(frame(piece)); },
    cancel() { said.cancelled = (said.cancelled ?? 0) + 1; },
  });
}
const answer = (stream) => new Response(stream, { headers: { "Content-Type": "text/event-stream" } });
const until = async (holds) => { while (!holds()) await new Promise((go) => setTimeout(go, 5)); };
const opened = () => states.includes("open");
function follow(options) {
  const fetch = async (request) => { requests.push(request); return answer(body("data: 1\\n\\n")); };
  return new EventStream("http://a.example/", {
    stallSeconds: 0.1, retrySeconds: 0.001, maxRetrySeconds: 0.01, fetch,
    onState: (state, detail) => { states.push(state); if (detail.error) said.error = String(detail.error.message); },
    onEvent: (event) => (said.data = event.data),
    ...options,
  });
}
"""


def run(program: str) -> Any:
    lines = node_run(PRELUDE % json.dumps(CLIENT.as_uri()) + program + "\nprocess.exit(0);").splitlines()
    return json.loads(lines[-1])


def test_headers_that_never_answer_are_asked_for_again() -> None:
    states, said, asked, aborted = run("""
        const signals = [];
        const stream = follow({
          headers: ({ signal }) => { signals.push(signal); return signals.length < 3 ? never : { "X-Token": "t" }; },
        });
        await until(opened);
        const [first, second, third] = signals;
        console.log(JSON.stringify([states, said, [requests.length, requests[0].headers.get("X-Token")],
          [first.aborted, second.aborted, third.aborted, third === requests[0].signal || !requests[0].signal.aborted]]));
    """)
    assert states[:6] == ["connecting", "waiting", "connecting", "waiting", "connecting", "open"]
    assert said["error"] == "no byte for 0.1 s"
    assert asked == [1, "t"]
    assert aborted == [True, True, False, True]


def test_headers_that_answer_after_the_end_cause_no_request() -> None:
    states, requests, aborted = run("""
        let give, seen;
        const stream = follow({ headers: ({ signal }) => { seen = signal; return new Promise((go) => (give = go)); } });
        await until(() => give);
        stream.close();
        give({});
        await new Promise((go) => setTimeout(go, 20));
        console.log(JSON.stringify([states, requests.length, seen.aborted]));
    """)
    assert states == ["connecting", "closed"]
    assert (requests, aborted) == (0, True)


def test_headers_that_fail_after_they_were_given_up_harm_nobody() -> None:
    states = run("""
        let fail, count = 0;
        process.on("unhandledRejection", () => states.push("unhandled"));
        const headers = () => (count++ ? {} : new Promise((_, no) => (fail = no)));
        const stream = follow({ headers });
        await until(opened);
        fail(new Error("too late"));
        await new Promise((go) => setTimeout(go, 20));
        console.log(JSON.stringify(states));
    """)
    # on a loaded machine the silence of the open one is noticed already
    assert states[:4] == ["connecting", "waiting", "connecting", "open"]
    assert "unhandled" not in states


def test_a_fetch_that_never_answers_and_heeds_no_signal() -> None:
    states, said, count = run("""
        const late = [];
        let dropped = 0;
        const old = () => new ReadableStream({ start: (c) => c.enqueue(frame("data: old\\n\\n")), cancel: () => { dropped++; } });
        const fetch = (request) => {
          requests.push(request);
          return requests.length < 3 ? new Promise((go) => late.push(go)) : answer(body("data: 2\\n\\n"));
        };
        const stream = follow({ fetch });
        await until(() => said.data === "2");
        for (const go of late.splice(0)) go(answer(old()));
        await until(() => dropped === 2);
        console.log(JSON.stringify([states, said, requests.map((request) => request.signal.aborted)]));
    """)
    assert states[:6] == ["connecting", "waiting", "connecting", "waiting", "connecting", "open"]
    assert said["data"] == "2"
    assert count[:2] == [True, True]


def test_a_body_that_falls_silent_and_heeds_no_signal() -> None:
    states, said = run("""
        const fetch = async (request) => { requests.push(request); return answer(body(`data: ${requests.length}\\n\\n`)); };
        const stream = follow({ fetch });
        await until(() => said.data >= 3);
        console.log(JSON.stringify([states, said]));
    """)
    assert states[:5] == ["connecting", "open", "waiting", "connecting", "open"]
    assert said["error"] == "no byte for 0.1 s"
    assert said["cancelled"] >= 2


def test_each_wait_has_its_own_time() -> None:
    states = run("""
        const slowly = (value) => new Promise((go) => setTimeout(go, 1200, value));
        const fetch = () => slowly(answer(body("data: 1\\n\\n")));
        const stream = follow({ stallSeconds: 2, headers: () => slowly({}), fetch });
        await until(opened);
        console.log(JSON.stringify(states));
    """)
    assert states == ["connecting", "open"]


@pytest.mark.parametrize("seconds", ["0", "Infinity", "1e9"])
def test_without_a_stall_detector(seconds: str) -> None:
    states = run(f"""
        const stream = follow({{ stallSeconds: {seconds} }});
        await until(opened);
        await new Promise((go) => setTimeout(go, 150));
        console.log(JSON.stringify(states));
    """)
    assert states == ["connecting", "open"]


def test_a_listener_may_close_it_at_any_moment() -> None:
    states, cancelled = run("""
        const stream = follow({ onEvent: () => stream.close(), stallSeconds: 5 });
        await until(() => stream.state === "closed" && said.cancelled);
        console.log(JSON.stringify([states, said.cancelled]));
    """)
    assert states == ["connecting", "open", "closed"]
    assert cancelled == 1
