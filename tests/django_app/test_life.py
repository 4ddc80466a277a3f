"""From the start of a server to its end."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.django_app.conftest import PROJECT, WAYS
from tests.support.servers import serve
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for


@pytest.mark.parametrize(("kind", "module"), WAYS)
def test_streams_end_whole_when_the_server_is_told_to_stop(kind: str, module: str) -> None:
    view = "async" if module == "asgi" else "sync"
    with serve(kind, f"{PROJECT}.{module}:app") as server, ExitStack() as stack:
        clients = [stack.enter_context(SSEClient(f"{server.url}/{view}/a/")) for _ in range(3)]
        for client in clients:
            client.take(1)
        code = server.terminate()
        for client in clients:
            last = client.rest()[-1]
            assert (last.event, last.data) == ("stream.close", '{"reason":"drain"}')
            assert last.retry
        assert code in (0, -15)  # gunicorn says 0, uvicorn sends itself the signal again
        assert "Traceback" not in server.output


def test_a_head_request_opens_no_stream() -> None:
    with serve("uvicorn", f"{PROJECT}.asgi:app") as server:
        for view in ("sync", "async"):
            assert httpx.head(f"{server.url}/{view}/a/", timeout=60).status_code == 200
        assert httpx.get(f"{server.url}/debug/", timeout=60).json()["readers"] == 0


def test_behind_the_middleware_no_thread_is_held_for_a_reader() -> None:
    with serve("uvicorn", f"{PROJECT}.asgi_handoff:app") as server, ExitStack() as stack:
        clients = [stack.enter_context(SSEClient(f"{server.url}/sync/a/")) for _ in range(30)]
        for client in clients:
            client.take(1)

        def held() -> dict[str, int]:
            return httpx.get(f"{server.url}/debug/", timeout=60).json()

        assert held()["readers"] == 30
        wait_for(lambda: held()["threads"] < 6, what="the views' threads to end")


def test_a_wrong_setting_is_told_by_the_log_and_by_every_use() -> None:
    env = {"TEST_SETTINGS": '{"SSE_BRIDGE": {"URI": "redis://nowhere"}, "DEBUG": true}'}
    with serve("gunicorn-gthread", f"{PROJECT}.wsgi:app", env=env) as server:
        for path in ("sync/a/", "publish/a/"):
            response = httpx.post(f"{server.url}/{path}", content="1", timeout=60)
            assert response.status_code == 500
            assert "did you mean &#x27;url&#x27;?" in response.text
        assert "invalid setting SSE_BRIDGE" in server.output
        assert "did you mean 'url'?" in server.output


def test_the_log_warns_of_workers_that_cannot_see_each_other() -> None:
    with serve("gunicorn-sync", f"{PROJECT}.wsgi:app", arguments=["--workers", "2"]) as server:
        httpx.get(f"{server.url}/debug/", timeout=60)
        assert "sse_bridge.W001" in server.output
        assert "sse_bridge.W003" in server.output


def test_streams_under_runserver(tmp_path: Path) -> None:
    with serve("runserver", f"{PROJECT}.settings") as server, SSEClient(f"{server.url}/async/a/") as client:
        client.take(1)
        httpx.post(f"{server.url}/publish/a/", content="1", timeout=60)
        assert client.take(1)[0].data == "1"
