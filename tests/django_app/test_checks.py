"""System checks, as manage.py check prints them, and what they can know about a server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sse_bridge_django.servers import Server, seen_server
from tests.django_app.conftest import PROJECT
from tests.support.process import Process


def check(*arguments: str, env: dict[str, str] | None = None, **settings: Any) -> str:
    variables = {"DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings", "TEST_SETTINGS": json.dumps(settings), **(env or {})}
    process = Process(["python", "-m", "django", "check", "--tag", "sse_bridge", *arguments], env=variables)
    process.wait()
    assert "Traceback" not in process.output
    return process.output


def test_all_well() -> None:
    assert "no issues" in check(MIDDLEWARE=[], SSE_BRIDGE={"URL": "redis://localhost/0", "Heartbeat_Seconds": 20})
    assert "no issues" in check(MIDDLEWARE=[], SSE_BRIDGE=None)


@pytest.mark.parametrize(
    ("setting", "id", "message"),
    [
        ({"URI": "redis://localhost"}, "E001", "did you mean 'url'?"),
        ({"HEARTBEAT": 3}, "E001", "did you mean 'heartbeat_seconds'?"),
        ({"URL": "carrier-pigeon://localhost"}, "E002", "carrier-pigeon"),
        ({"HEARTBEAT_SECONDS": -3}, "E002", "greater than or equal to 0"),
        ("redis://localhost", "E002", "must be a dict"),
    ],
)
def test_settings_that_cannot_work(setting: Any, id: str, message: str) -> None:
    output = check(SSE_BRIDGE=setting)
    assert f"sse_bridge.{id}" in output
    assert message in output


def test_several_workers_on_the_memory_backend() -> None:
    assert "sse_bridge.W001" in check(env={"WEB_CONCURRENCY": "3"})
    assert "sse_bridge.W001" not in check(env={"WEB_CONCURRENCY": "1"})
    assert "sse_bridge.W001" not in check(env={"WEB_CONCURRENCY": "3", "SSE_BRIDGE_URL": "redis://localhost"})


def test_the_memory_backend_in_production() -> None:
    assert "sse_bridge.W002" in check("--deploy")
    assert "sse_bridge.W002" not in check()
    assert "sse_bridge.W002" not in check("--deploy", env={"SSE_BRIDGE_URL": "redis://localhost"})


def test_sync_workers() -> None:
    assert "sse_bridge.W003" in check(env={"GUNICORN_CMD_ARGS": "--workers 1"})
    assert "sse_bridge.W003" not in check(env={"GUNICORN_CMD_ARGS": "--worker-class gevent"})


def test_gzip() -> None:
    assert "sse_bridge.I001" in check("--deploy")
    assert "sse_bridge.I001" not in check()


@pytest.mark.parametrize(
    ("argv", "environ", "expected"),
    [
        ("manage.py check", {}, Server(None, None, None)),
        ("manage.py check", {"WEB_CONCURRENCY": "2"}, Server(None, 2, None)),
        ("manage.py check -w 5", {}, Server(None, None, None)),
        ("/usr/bin/gunicorn site.wsgi", {}, Server("gunicorn", None, "sync")),
        ("gunicorn site.wsgi -w 4 -k gevent", {}, Server("gunicorn", 4, "gevent")),
        ("gunicorn site.wsgi -w4 --worker-class=gthread", {}, Server("gunicorn", 4, "gthread")),
        ("gunicorn site.wsgi --threads 8", {}, Server("gunicorn", None, "gthread")),
        ("gunicorn site.wsgi -c conf.py", {}, Server("gunicorn", None, None)),
        ("gunicorn site.wsgi -w 2", {"GUNICORN_CMD_ARGS": "-w 8 -k gevent"}, Server("gunicorn", 2, "gevent")),
        ("gunicorn site.wsgi", {"WEB_CONCURRENCY": "3"}, Server("gunicorn", 3, "sync")),
        ("gunicorn site.wsgi -w many", {}, Server("gunicorn", None, "sync")),
        ("gunicorn site.wsgi -w", {}, Server("gunicorn", None, "sync")),
        ("/lib/uvicorn/__main__.py site.asgi:app --workers=2", {}, Server("uvicorn", 2, None)),
        ("/lib/django/__main__.py check", {}, Server(None, None, None)),
        ("", {}, Server(None, None, None)),
    ],
)
def test_what_a_command_line_says(argv: str, environ: dict[str, str], expected: Server) -> None:
    assert seen_server(argv.split(), environ) == expected
