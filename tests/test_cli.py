"""``sse-bridge`` against a real Redis: what it prints, its exit codes, and how it ends."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from sse_bridge import Bridge, Visibility
from sse_bridge.cli import AWAY, INTERRUPTED, REFUSED, WRONG, main
from tests.support.process import Process, free_port
from tests.support.redis_server import RedisServer
from tests.support.sse_parser import SSEParser
from tests.support.wait import wait_for

pytestmark = pytest.mark.needs("redis7")


@pytest.fixture
def prefix() -> str:
    return f"cli{uuid.uuid4().hex[:8]}"


@pytest.fixture
def bridge(redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bridge]:
    """The application beside the commands, with a retention of its own."""
    monkeypatch.setenv("SSE_BRIDGE_URL", redis_url)
    monkeypatch.setenv("SSE_BRIDGE_PREFIX", prefix)
    with Bridge(replay_size=50) as bridge:
        bridge.publish("before", None)
        yield bridge


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.split("\n") if line]


def test_publish_and_history(bridge: Bridge, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "a", '{"n": 1}', "--type", "one"]) == 0
    first = capsys.readouterr().out.strip()
    assert main(["publish", "a", "two words", "--text", "--visibility", "internal_only"]) == 0
    capsys.readouterr()
    events = bridge.history("a")
    assert [(event.type, event.data, event.visibility) for event in events] == [
        ("one", {"n": 1}, Visibility.USER_FACING),
        ("message", "two words", Visibility.INTERNAL_ONLY),
    ]
    assert first == events[0].id

    assert main(["history", "a"]) == 0
    shown = lines(capsys.readouterr().out)
    assert [(each["type"], each["channel"], each["data"], each["id"]) for each in shown] == [
        ("one", "a", {"n": 1}, events[0].id),
        ("message", "a", "two words", events[1].id),
    ]
    assert shown[0]["published_at_ms"] == events[0].published_at_ms
    assert main(["history", "a", "--after", first, "--limit", "1", "--format", "text"]) == 0
    assert capsys.readouterr().out == "two words"


def test_data_from_stdin_and_an_idempotency_key(
    bridge: Bridge, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("[1]", "[2]"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        assert main(["publish", "a", "-", "--idempotency-key", "k"]) == 0
    assert len(set(capsys.readouterr().out.split())) == 1
    assert [event.data for event in bridge.history("a")] == [[1]]


def test_an_event_that_is_not_stored_has_no_id(bridge: Bridge, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "a", "1", "--visibility", "live_ui_only"]) == 0
    assert capsys.readouterr().out == ""


def test_close_and_tail_to_the_end(bridge: Bridge, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        bridge.publish("a", number)
    assert main(["close", "a", "--reason", "enough"]) == 0
    end = capsys.readouterr().out.strip()

    assert main(["tail", "a", "--after", "earliest", "--format", "sse"]) == 0
    frames = SSEParser().feed(capsys.readouterr().out.encode())
    assert [frame.data for frame in frames[:3]] == ["0", "1", "2"]
    assert (frames[3].event, frames[3].id) == ("stream.end", end)
    assert json.loads(frames[3].data) == {"channel": "a", "reason": "enough"}

    assert main(["tail", "a", "--last", "2"]) == 0
    assert [each["data"] for each in lines(capsys.readouterr().out)[:1]] == [2]
    assert main(["publish", "a", "4"]) == REFUSED
    assert "closed" in capsys.readouterr().err


def test_gaps_are_told_in_every_format(bridge: Bridge, capsys: pytest.CaptureFixture[str]) -> None:
    first = bridge.publish("a", 0)
    for number in range(1, 200):  # replay_size is 50
        bridge.publish("a", number)
    bridge.close_channel("a")
    assert main(["tail", "a", "--after", str(first)]) == 0
    gap = lines(capsys.readouterr().out)[0]
    assert (gap["type"], gap["channel"], gap["data"]["reason"]) == ("stream.gap", "a", "trimmed")
    assert main(["history", "a", "--after", str(first), "--limit", "1", "--format", "text"]) == 0
    assert "missing" in capsys.readouterr().err


def test_check(bridge: Bridge, redis_url: str, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    said = capsys.readouterr()
    assert "retention  50 entries, for 3600 s after the last one, generation 1" in said.out
    assert "note       these settings say 1000 entries" in said.out
    assert said.err == ""
    assert main(["check", "--prefix", f"{prefix}.new"]) == 0
    said = capsys.readouterr()
    for part in (f"redis, {redis_url}, prefix {prefix}.new", "redis-py", "1000 entries", "3600 s", "Python 3"):
        assert part in said.out
    assert re.search(r"broker +(Redis|Valkey) \d+\.", said.out)
    assert said.err == ""


def test_check_of_a_process_that_would_store_its_own_retention(
    bridge: Bridge, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSE_BRIDGE_RETENTION_CHANGE", "update")
    assert main(["check"]) == 0
    said = capsys.readouterr()
    assert "retention  50 entries" in said.out
    assert "a process that starts with them stores them" in said.out
    monkeypatch.setenv("SSE_BRIDGE_RETENTION_CHANGE", "updat")
    for command in (["check"], ["history", "a"]):
        assert main(command) == 2
        assert "retention_change" in capsys.readouterr().err


def test_retention_is_shown_and_changed(
    bridge: Bridge, prefix: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["retention", "show"]) == 0
    (shown,) = lines(capsys.readouterr().out)
    assert (shown["replay_size"], shown["replay_seconds"], shown["generation"]) == (50, 3600, 1)
    assert shown["changed"] is None
    assert main(["retention", "set", "--replay-size", "70"]) == 0
    (changed,) = lines(capsys.readouterr().out)
    assert (changed["replay_size"], changed["replay_seconds"], changed["generation"]) == (70, 3600, 2)
    assert changed["changed"].startswith("20")
    monkeypatch.setattr(bridge.backend._retention, "look_at", 0.0)  # type: ignore[attr-defined]
    bridge.publish("a", 1)
    assert bridge.backend._codec.replay_size == 70  # type: ignore[attr-defined]
    for wrong in ([], ["--replay-size", "-1"], ["--replay-seconds", "nan"]):
        assert main(["retention", "set", *wrong]) == WRONG
    assert "sse-bridge: " in capsys.readouterr().err

    assert main(["retention", "show", "--prefix", f"{prefix}.new"]) == 0
    assert lines(capsys.readouterr().out)[0]["generation"] == 0
    assert main(["publish", "a", "1", "--prefix", f"{prefix}.new"]) == 0
    assert main(["retention", "set", "--replay-seconds", "60.5", "--prefix", f"{prefix}.new"]) == 0
    assert lines(capsys.readouterr().out.partition("\n")[2])[0]["replay_seconds"] == 60.5


def test_check_shows_no_password(private_redis: Any, capsys: pytest.CaptureFixture[str]) -> None:
    server: RedisServer = private_redis(config=["requirepass secret"])
    assert main(["check", "--url", server.url.replace("redis://", "redis://:secret@")]) == 0
    said = capsys.readouterr()
    assert f"redis, {server.url}" in said.out
    assert "secret" not in said.out + said.err


def test_check_warns_of_eviction(private_redis: Any, capsys: pytest.CaptureFixture[str]) -> None:
    server: RedisServer = private_redis(config=["maxmemory-policy allkeys-lru"])
    assert main(["check", "--url", server.url]) == 0
    assert "warning: Redis has maxmemory-policy allkeys-lru" in capsys.readouterr().err


def test_check_of_the_memory_backend(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--url", "memory://"]) == 0
    assert "inside each process" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["publish", "a", "{"], WRONG, "--text"),
        (["publish", "a", "{", "--url", "memory://"], WRONG, "--text"),
        (["publish", "a b", "1"], REFUSED, "channel name"),
        (["publish", "a", "1", "--type", "stream.end"], REFUSED, "reserved"),
        (["tail", "a", "--last", "-1"], REFUSED, "last"),
        (["history", "a", "--limit", "0"], REFUSED, "limit"),
        (["history", "a", "--url", "memory://"], WRONG, "SSE_BRIDGE_URL"),
        (["history", "a", "--url", "mysql://x"], WRONG, "mysql"),
        (["history", "a", "--prefix", "{x}"], WRONG, "prefix"),
    ],
)
def test_mistakes(
    bridge: Bridge, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.startswith("sse-bridge: ")


@pytest.mark.parametrize("command", [["publish", "a", "1"], ["tail", "a"], ["history", "a"], ["close", "a"], ["check"]])
def test_a_broker_that_is_away(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSE_BRIDGE_PUBLISH_TIMEOUT_SECONDS", "0.2")
    assert main([*command, "--url", f"redis://127.0.0.1:{free_port()}/0"]) == AWAY
    assert "sse-bridge: " in capsys.readouterr().err


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["dance"], ["tail"], ["tail", "a", "--after", "now", "--last", "1"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == WRONG
    capsys.readouterr()


def test_tail_follows_until_ctrl_c(bridge: Bridge) -> None:
    bridge.publish("a", "old")
    with Process(["python", "-m", "sse_bridge", "tail", "a", "b", "--after", "earliest"]) as tail:
        wait_for(lambda: "old" in tail.output)
        position = bridge.publish("b", "new", visibility="internal_only")
        wait_for(lambda: "new" in tail.output)
        tail.signal(signal.SIGINT)
        assert tail.wait() == INTERRUPTED
        shown = lines(tail.output)
        assert [each["data"] for each in shown] == ["old", "new"]
        assert str(position) in shown[-1]["id"]


def test_a_reader_that_has_enough(bridge: Bridge) -> None:
    for _ in range(50):
        bridge.publish("a", "x" * 4000)
    program = 'python -m sse_bridge history a | head -c 10; echo; echo "code ${PIPESTATUS[0]}"'
    with Process(["bash", "-c", program.replace("python", sys.executable)]) as pipe:
        assert pipe.wait() == 0
        assert pipe.output.split("\n")[1:] == ["code 0", ""]
