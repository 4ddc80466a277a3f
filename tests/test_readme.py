"""The README's and the docs' Python blocks do what they say, run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sse_bridge.config import Settings
from tests.support.http_stream import HTTPStream  # the client below is built on it
from tests.support.process import ROOT
from tests.support.servers import serve
from tests.support.sse_client import SSEClient

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", README, re.DOTALL)

DJANGO = """
import os
from django.conf import settings
settings.configure(
    DEBUG=True, SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, INSTALLED_APPS=["sse_bridge_django"],
    SSE_BRIDGE={"URL": "memory://"},
)
import django
django.setup()
"""
WSGI = "from django.core.wsgi import get_wsgi_application; application = get_wsgi_application()"
ASGI = "from django.core.asgi import get_asgi_application; application = get_asgi_application()"


def block(kind: str) -> str:
    (code,) = [code for name, code in BLOCKS if name == kind]
    return code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_every_block_is_run_by_a_test_here() -> None:
    assert {name for name, _ in BLOCKS} == {
        "plain", "django", "flask", "asgi", "middleware", "channels", "celery",
    }  # fmt: skip
    assert README.count("```python") == len(BLOCKS)


@pytest.mark.parametrize("code", [code for name, code in BLOCKS if name == "plain"])
def test_plain_blocks_print_what_they_say(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        env=child_path(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = re.findall(r"print\(.*\)  # (.*)", code)
    assert done.stdout.splitlines() == said


@pytest.mark.parametrize(
    ("kind", "server", "before", "after", "app"),
    [
        ("django", "uvicorn", DJANGO, ASGI, "application"),
        ("django", "gunicorn-gthread", DJANGO, WSGI, "application"),
        ("flask", "gunicorn-gthread", "", "", "app"),
        ("asgi", "uvicorn", "", "", "app"),
    ],
    ids=["django-asgi", "django-wsgi", "flask", "asgi"],
)
def test_frameworks(folder: Path, kind: str, server: str, before: str, after: str, app: str) -> None:
    (folder / "site_under_test.py").write_text(f"{before}\n{block(kind)}\n{after}\n")
    with (
        serve(server, f"site_under_test:{app}", env=child_path(folder), cwd=folder) as running,
        SSEClient(f"{running.url}/orders/42/events/") as client,
    ):
        assert client.next(60).event == "stream.open"
        with HTTPStream(f"{running.url}/orders/42/pay/") as paid:
            assert paid.status == 204
        event = client.next(60)
        assert (event.event, event.data) == ("order.paid", '{"status":"paid"}')


@pytest.mark.parametrize(
    ("kind", "server", "before", "after", "app"),
    [
        ("django", "gunicorn-gthread", DJANGO, WSGI, "application"),
        ("flask", "gunicorn-gthread", "", "", "app"),
        ("asgi", "uvicorn", "", "", "app"),
    ],
    ids=["django", "flask", "fastapi"],
)
def test_a_page_loses_nothing_until_its_stream_is_there(
    folder: Path, kind: str, server: str, before: str, after: str, app: str
) -> None:
    (folder / "site_under_test.py").write_text(f"{before}\n{block(kind)}\n{after}\n")
    with serve(server, f"site_under_test:{app}", env=child_path(folder), cwd=folder) as running:
        with HTTPStream(f"{running.url}/orders/42/") as response:
            page = response.read_all().decode()
        [position] = re.findall(r"after=([\w.-]+)", page) or [json.loads(page)["position"]]
        with HTTPStream(f"{running.url}/orders/42/pay/") as paid:
            assert paid.status == 204
        with SSEClient(f"{running.url}/orders/42/events/?after={position}") as client:
            assert client.next(60).event == "stream.open"
            assert client.next(60).event == "order.paid"


def test_middleware(folder: Path) -> None:
    (folder / "site_under_test.py").write_text(block("middleware"))
    with serve("uvicorn", "site_under_test:app", env=child_path(folder), cwd=folder) as running:
        with SSEClient(f"{running.url}/events/?channel=orders:42") as client:
            assert client.next(60).event == "stream.open"
        with HTTPStream(f"{running.url}/events/?channel=secrets") as refused:
            assert refused.status == 403


def test_channels(folder: Path) -> None:
    wrapper = "from channels.routing import ProtocolTypeRouter\napplication = ProtocolTypeRouter({'http': application})"
    (folder / "site_under_test.py").write_text(f"{DJANGO}\n{block('channels')}\n{wrapper}\n")
    with (
        serve("uvicorn", "site_under_test:application", env=child_path(folder), cwd=folder) as running,
        SSEClient(f"{running.url}/orders/42/events/") as client,
    ):
        assert client.next(60).event == "stream.open"


def test_celery(folder: Path) -> None:
    drive = (
        "app.conf.task_always_eager = True\n"
        "result = ship.delay(7)\n"
        "print(result.get())\n"
        "print([event.type for event in bridge.history(f'task:{result.id}')])\n"
    )
    code = block("celery") + drive
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=child_path(folder)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "7"
    assert "task.progress" in done.stdout
    assert "task.succeeded" in done.stdout


def test_the_collector_is_told_so() -> None:
    (code,) = re.findall(r"<!-- run: gc -->\n```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    code += "print(gc.get_freeze_count() > 10_000, gc.get_threshold(), type(app).__name__)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        env=child_path(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True (10000, 20, 100) EventStreamApp\n"


def test_the_settings_table_is_complete() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"| `{name}` | `{field.default}` |" in text, (
            f"docs/deploy.md lacks {name}, or its default is not up to date"
        )
        assert str(field.description) in text


def child_path(*folders: Path) -> dict[str, str]:
    paths = [str(folder) for folder in folders] + [str(ROOT), str(ROOT / "integrations")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
