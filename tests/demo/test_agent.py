"""The agent by itself: what it reads, what it finds, and what a run says."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from demo_django import agent
from demo_django.agent.documents import of_markdown, of_python, passages
from demo_django.agent.search import Index, words
from demo_django.agent.tools import look_up

MARKDOWN = """
# Resuming

The browser sends **Last-Event-ID** by itself, see [the standard](https://html.spec.whatwg.org), and nothing is lost on the way.

| a | table |
|---|---|

## Deploying

- nginx needs one header from the application, which the library already sends by itself.
```nginx
proxy_buffering off;
```
"""


def answer_of(question: str) -> str:
    return "".join(data["text"] for type, data in agent.run(question) if type == "token")


def test_markdown_becomes_passages_with_their_examples() -> None:
    resuming, deploying = of_markdown(MARKDOWN, "guide.md")
    assert (resuming.title, resuming.line) == ("Resuming", 2)
    assert (
        resuming.text == "The browser sends Last-Event-ID by itself, see the standard, and nothing is lost on the way."
    )
    assert deploying.code == "proxy_buffering off;"
    assert deploying.text.startswith("nginx needs")


def test_a_module_says_what_it_is_for() -> None:
    source = '"""Counts sheep, one after the other, until whoever counts has fallen asleep.\n\n    count()\n"""\n'
    (passage,) = of_python(source, "sse_bridge/sheep.py")
    assert (passage.title, passage.code) == ("sse_bridge.sheep", "count()")
    assert passage.text.startswith("Counts sheep")


def test_rare_words_and_titles_count_most() -> None:
    index = Index(list(of_markdown(MARKDOWN, "guide.md")))
    assert index.search("deploy behind nginx")[0][1].title == "Deploying"
    assert index.search("a browser that resumes")[0][1].title == "Resuming"
    assert index.search("banana") == []


def test_names_count_whole_and_in_their_parts() -> None:
    assert words("the publish_on_commit()") == ["publish", "commit", "publish_on_commit"]


def test_it_reads_this_project() -> None:
    assert len(passages()) > 50
    assert {"sse_bridge.events", "sse_bridge.filters"} <= {passage.title for passage in passages()}


def test_a_run_searches_cites_and_counts_its_tokens() -> None:
    events = list(agent.run("How are slow readers handled?"))
    types = [type for type, _ in events]
    assert types[0] == "workflow_started"
    assert types[-1] == "workflow_completed"
    tokens = [data for type, data in events if type == "token"]
    assert [data["index"] for data in tokens] == list(range(len(tokens)))
    assert events[-1][1] == {"tokens": len(tokens), "citations": types.count("citation")}
    assert types.count("citation") >= 1
    assert "[1]" in answer_of("How are slow readers handled?")


def test_it_says_so_when_it_knows_nothing() -> None:
    assert "I found nothing" in answer_of("zxqv blorft?")


@pytest.mark.parametrize(
    ("question", "signature"),
    [
        ("what is heartbeat_seconds", "heartbeat_seconds = 15.0"),
        ("How do I close_channel?", "bridge.close_channel(channel, reason='completed')"),
        ("and history?", "bridge.history(channel, after=None, limit=100, filter=None)"),
    ],
)
def test_the_tool_looks_names_up(question: str, signature: str) -> None:
    found = look_up(question)
    assert found is not None
    assert found.signature == signature
    assert found.summary


def test_the_words_may_come_from_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))), path=self.path)
            self.send_response(200)
            self.end_headers()
            for text in ("Read", " on", " [1]"):
                chunk = {"choices": [{"delta": {"content": text}}]}
                self.wfile.write(b": a comment\ndata: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.write(b'data: {"choices": []}\n\ndata: [DONE]\n\n')

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("DEMO_OPENAI_URL", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setenv("DEMO_OPENAI_MODEL", "small")
        assert answer_of("How are slow readers handled?") == "Read on [1]"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (asked["path"], asked["model"], asked["stream"]) == ("/v1/chat/completions", "small", True)
    assert "[1]" in asked["messages"][0]["content"]
