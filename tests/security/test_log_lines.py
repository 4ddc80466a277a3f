"""No log line, key or command of ours can be shaped by input."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.errors import SSEBridgeError
from sse_bridge.streams import StreamRequest, refusal, stream_channels
from tests.security.conftest import SECRET, WAYS, Site
from tests.support.http_stream import HTTPStream
from tests.support.process import ROOT
from tests.support.source_tree import packages, python_files, tree
from tests.support.wait import wait_for

FORGED = "\r\n2026-01-01 CRITICAL forged \x1b[31mred\x1b[0m \u2028forged"


def test_no_line_is_forged_by_a_name_or_a_query(site: Site, way: Any) -> None:
    """Channel, query, header and cookie with line breaks and colours, through real servers; their output is ours too."""
    evil = "%0d%0aCRITICAL%20forged%20%1b[31m"
    for path in (
        f"open?channel=a{evil}",
        f"open?channel=a&last={evil}",
        f"open?channel=a&format={evil}",
        f"token?channel={evil}",
    ):
        headers = {"Last-Event-ID": "\x1b[31m", "Cookie": "sse_bridge_token=\x1b[31mforged"}
        with HTTPStream(site.url(way, path), headers) as answer:
            assert 400 <= answer.status < 500
            body = answer.read_all(60)
            assert b"\x1b" not in body
            assert b"\r\nCRITICAL" not in body
    output = site.server(way[0]).output
    assert "\x1b[31m" not in output
    assert not [line for line in output.split("\n") if line.startswith("CRITICAL")]


def test_messages_of_errors_are_one_printable_line(caplog: pytest.LogCaptureFixture) -> None:
    def attempts(bridge: Bridge) -> Any:
        yield lambda: bridge.publish(FORGED, 1)
        yield lambda: bridge.publish("a", 1, type=FORGED)
        yield lambda: bridge.subscribe(FORGED)
        yield lambda: bridge.history(FORGED)
        yield lambda: bridge.close_channel(FORGED)
        yield lambda: bridge.token(FORGED)
        yield lambda: StreamRequest.from_http({}, [("last", FORGED)])
        yield lambda: stream_channels(bridge, FORGED, StreamRequest())
        yield lambda: stream_channels(bridge, "a", StreamRequest(format=FORGED))
        yield lambda: Bridge("memory://", cors_origins=FORGED)
        yield lambda: Bridge("memory://", prefix=FORGED)

    with Bridge("memory://", token_secret=SECRET) as bridge:
        for attempt in attempts(bridge):
            with pytest.raises(SSEBridgeError) as refused:
                attempt()
            assert str(refused.value).isprintable(), refused.value
            with caplog.at_level(logging.DEBUG):
                answer = refusal(refused.value, debug=True)
            assert b"\x1b" not in answer.body
    for record in caplog.records:
        assert record.getMessage().isprintable(), record


def test_a_token_in_the_address_is_in_no_log(site: Site) -> None:
    token = site.bridge.token("a", "7")
    for way in (WAYS[0], WAYS[-1]):
        with HTTPStream(site.url(way, f"token?channel=a&token={token}")) as answer:
            assert answer.status == 401  # the setting is off
            assert token.encode() not in answer.read_all(60)
        server = site.server(way[0])
        wait_for(lambda server=server: "token=[redacted]" in server.output, what="the access log's line")
        assert token.split(".")[2] not in server.output


def test_no_pattern_is_subscribed_to_and_no_script_is_made_of_input() -> None:
    sources = [path for package in packages() for path in package.rglob("*") if path.suffix in (".py", ".lua")]
    assert any(path.suffix == ".lua" for path in sources)
    words = ("psubscribe", "'keys'", "'scan'", "loadstring", "flushall", "flushdb")
    for path in sources:
        text = path.read_text(encoding="utf-8").lower()
        assert [word for word in words if word in text] == [], path
    formatted = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in python_files(ROOT / "sse_bridge" / "backends" / "redis")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.JoinedStr)
        and any(word in ast.unparse(node) for word in ("redis.call", "KEYS[", "ARGV["))
    ]
    assert formatted == []


# What a logger may write by %s, and why nobody else shapes it. The rest is a number, or %r.
BY_STR = {
    "error": "an error of ours or of redis-py, whose message is one printable line (see above)",
    "why": "the same as text, or a word of ours",
    "state": "a word of Celery's",
    "policy": "Redis's own word for its maxmemory-policy",
    "SETTING": "a constant",
    "message.msg": "of Django's system checks: ours",
    "message.id": "likewise",
    "message.hint": "likewise",
    "event.channel": "a name that keeps the rule",
    "channel": "likewise",
    "self.subscribe_request.channels": "a tuple of such names",
    "self._script.subscribe_request.channels": "likewise",
    "event.data['reason']": "of a gap: our own word",
    "trouble": "a line of ours, of names that keep the rule and errors as above",
    "status": "a number: of an answer of the application's",
    "ignored": "words of ours: options that are known",
}
# Here `error` may be one that an application's hook or task made, of what its users said.
OF_OTHERS = ("websocket_session.py", "refusals.py", "follower.py")


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    for package in packages():
        for path in python_files(package):
            for node in ast.walk(tree(path)):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("debug", "info", "warning", "error", "exception", "critical", "log")
                    and ast.unparse(node.func.value).rpartition(".")[2] in ("log", "logger", "logging")
                ):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_no_logger_is_handed_a_text_that_others_shaped() -> None:
    """Messages are constants, and their arguments are shown by repr unless it is known what they are."""
    wrong = []
    calls = list(log_calls())
    assert len(calls) > 40, "loggers have other names now"
    for place, call in calls:
        message, *arguments = call.args
        if not (isinstance(message, ast.Constant) and isinstance(message.value, str)):
            wrong.append(f"{place}: the message is made of {ast.unparse(message)}")
            continue
        kinds = re.findall(r"%[-+ #0-9.]*([a-z])", message.value.replace("%%", ""))
        spread = any(isinstance(argument, ast.Starred) for argument in arguments)
        if len(kinds) != len(arguments) and not spread:
            wrong.append(f"{place}: {len(kinds)} places for {len(arguments)} arguments")
        for kind, argument in zip(kinds, arguments, strict=False):
            name = ast.unparse(argument)
            known = name in BY_STR and not (name == "error" and place.partition(":")[0].endswith(OF_OTHERS))
            if kind == "s" and not known:
                wrong.append(f"{place}: %s of {name}; use %r, or say in BY_STR why not")
    assert wrong == []


def test_an_error_of_an_applications_hook_is_logged_by_repr(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SSEBridgeError):
        http_status = 503

    with caplog.at_level(logging.DEBUG):
        refusal(Broken(FORGED))
    assert [record.getMessage().isprintable() for record in caplog.records] == [True]
