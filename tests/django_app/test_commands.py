"""manage.py publish_event and tail_events, as programs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid

import pytest

from tests.django_app.conftest import PROJECT
from tests.support.process import Process, child_environment
from tests.support.wait import wait_for

PYTHON = sys.executable
SETTINGS = {"DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings"}


class Commands:
    def __init__(self, url: str) -> None:
        self.env = {**SETTINGS, "SSE_BRIDGE_URL": url, "SSE_BRIDGE_PREFIX": uuid.uuid4().hex}

    def start(self, *arguments: str) -> Process:
        return Process(["python", "-m", "django", *arguments], env=self.env)

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        return process.wait(), process.output


@pytest.fixture
def redis(redis_url: str) -> Commands:
    return Commands(redis_url)


@pytest.fixture
def memory() -> Commands:
    return Commands("memory://")


def lines(process: Process) -> list[dict]:
    return [json.loads(line) for line in process.output.split("\n") if line.startswith("{")]


def test_what_is_published_is_printed(redis: Commands) -> None:
    code, position = redis.run("publish_event", "orders:42", '{"status": "paid"}', "--type", "order.paid")
    assert code == 0, position
    with redis.start("tail_events", "orders:42", "news", "--after", "earliest") as tail:
        [first] = wait_for(lambda: lines(tail))
        assert first["id"].startswith(position.strip())
        del first["id"]
        assert first == {"channel": "orders:42", "type": "order.paid", "data": {"status": "paid"}}
        redis.run("publish_event", "news", "--text", "größer")
        redis.run("publish_event", "news", "--visibility", "internal_only", "null")
        assert [line["data"] for line in wait_for(lambda: lines(tail)[1:] if len(lines(tail)) > 2 else None)] == [
            "größer",
            None,
        ]
        tail.signal(signal.SIGINT)
        assert tail.wait() == 0
        assert "Traceback" not in tail.output


def test_tailing_begins_where_it_is_told(redis: Commands) -> None:
    ids = [redis.run("publish_event", "a", str(number))[1].strip() for number in range(3)]
    for start in (("--last", "1"), ("--after", ids[1])):
        with redis.start("tail_events", "a", *start) as tail:
            assert [line["data"] for line in wait_for(lambda: lines(tail))] == [2]


def test_the_reader_of_the_output_may_leave(redis: Commands) -> None:
    command = f"{PYTHON} -m django tail_events a --after earliest | head -n 1"
    done = subprocess.Popen(
        command, shell=True, env=child_environment(redis.env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # a command at each look, and tail_events notices with the second line that its reader left
    wait_for(lambda: redis.run("publish_event", "a", "1") and done.poll() is not None, 60)
    output, errors = done.communicate(timeout=60)
    assert json.loads(output)["data"] == 1
    assert "Traceback" not in errors
    assert "Broken" not in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["publish_event", "a", "{not json}"], "a text needs quotes, or --text"),
        (["publish_event", "no spaces", "1"], "a channel name must match"),
        (["publish_event", "a", "1", "--type", "error"], "is reserved"),
        (["tail_events", "no spaces"], "a channel name must match"),
        (["tail_events", "a", "--last", "-1"], "last= must be a whole number"),
    ],
)
def test_mistakes_are_told_in_one_line(memory: Commands, arguments: list[str], message: str) -> None:
    code, output = memory.run(*arguments)
    assert code == 1
    assert message in output
    assert "Traceback" not in output


def test_the_memory_backend_is_told_to_be_of_no_use(memory: Commands) -> None:
    code, output = memory.run("publish_event", "a", "1")
    assert code == 0
    assert "in this process only" in output
