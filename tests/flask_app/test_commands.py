"""``flask sse publish`` and ``flask sse tail``."""

from __future__ import annotations

import json
import os
import signal

from flask import Flask

from sse_bridge import Bridge
from sse_bridge_flask import SSEBridge
from tests.support.process import Process
from tests.support.wait import wait_for

COMMAND = ["python", "-m", "flask", "--app", "tests.flask_app.app:app", "sse"]


def test_in_two_processes(redis_url: str) -> None:
    env = {"SSE_BRIDGE_URL": redis_url, "SSE_BRIDGE_PREFIX": f"cli{os.urandom(4).hex()}"}
    with Bridge(redis_url, prefix=env["SSE_BRIDGE_PREFIX"]) as bridge:
        early = [str(bridge.publish("a", number)) for number in range(3)]
        with (
            Process([*COMMAND, "tail", "a", "b", "--last", "1"], env=env) as tail,
            Process([*COMMAND, "tail", "a", "--after", early[0]], env=env) as resumed,
        ):
            wait_for(lambda: '"data": 2' in tail.output and '"data": 2' in resumed.output)
            with Process(
                [*COMMAND, "publish", "a", '{"status": "bezahlt für €"}', "--type", "order.paid"], env=env
            ) as one:
                assert one.wait(60) == 0, one.output
            published = one.output.strip()
            assert published == str(bridge.history("a")[-1].position)
            bridge.close_channel("a")
            assert resumed.wait(60) == 0, resumed.output
            wait_for(lambda: "stream.end" in tail.output)
            tail.signal(signal.SIGINT)
            assert tail.wait(60) == 1
            lines = [json.loads(line) for line in tail.output.splitlines() if line.startswith("{")]
            assert [(line["channel"], line["type"], line["data"]) for line in lines[:2]] == [
                ("a", "message", 2),
                ("a", "order.paid", {"status": "bezahlt für €"}),
            ]
            assert "Traceback" not in tail.output + resumed.output
            again = [json.loads(line) for line in resumed.output.splitlines()]
            assert [line["data"] for line in again[:3]] == [1, 2, {"status": "bezahlt für €"}]
            assert again[2]["id"] == published


def test_mistakes() -> None:
    app = Flask(__name__)
    SSEBridge(app, default=False)
    runner = app.test_cli_runner()
    for arguments, message in (
        (["publish", "a", "{status}"], "expected JSON"),
        (["publish", "a", "1"], "SSE_BRIDGE_URL"),
        (["tail", "a"], "SSE_BRIDGE_URL"),
        (["tail"], "CHANNEL"),
    ):
        result = runner.invoke(args=["sse", *arguments])
        assert result.exit_code != 0
        assert message in result.output
        assert "Traceback" not in result.output


def test_a_refusal_is_one_line(redis_url: str) -> None:
    app = Flask(__name__)
    SSEBridge(app, default=False, url=redis_url, prefix=f"cli{os.urandom(4).hex()}")
    result = app.test_cli_runner().invoke(args=["sse", "publish", "a channel", "1"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
