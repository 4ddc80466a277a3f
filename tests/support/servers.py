"""An application under a real server, as a child process on a free port.

with serve("uvicorn", "tests.apps.echo:app", env={"SSE_BRIDGE_URL": url}) as server:
    server.url, server.port, server.output, server.process.pid, server.terminate()
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import Process, free_port

_GUNICORN = ["python", "-m", "gunicorn", "{app}", "--bind", "127.0.0.1:{port}", "--worker-tmp-dir", "/dev/shm"]

# {app} is "module:attribute" (a settings module for runserver), {port} the free port.
COMMANDS: dict[str, list[str]] = {
    # ASGI
    "uvicorn": ["python", "-m", "uvicorn", "{app}", "--host", "127.0.0.1", "--port", "{port}"],
    "hypercorn": ["python", "-m", "hypercorn", "{app}", "--bind", "127.0.0.1:{port}"],
    "daphne": ["python", "-m", "daphne", "--bind", "127.0.0.1", "--port", "{port}", "{app}"],
    "granian": ["python", "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "{app}"],
    "gunicorn-uvicorn": [*_GUNICORN, "--worker-class", "uvicorn.workers.UvicornWorker"],
    "gunicorn-asgi": [*_GUNICORN, "--worker-class", "asgi"],
    # WSGI
    "gunicorn-sync": [*_GUNICORN, "--worker-class", "sync"],
    "gunicorn-gthread": [*_GUNICORN, "--worker-class", "gthread", "--threads", "16"],
    "gunicorn-gevent": [*_GUNICORN, "--worker-class", "gevent"],
    "flask": ["python", "-m", "flask", "--app", "{app}", "run", "--host", "127.0.0.1", "--port", "{port}"],
    "runserver": ["python", "-m", "django", "runserver", "--noreload", "--settings", "{app}", "127.0.0.1:{port}"],
}
ASGI_SERVERS = ("uvicorn", "hypercorn", "daphne", "granian", "gunicorn-uvicorn")
WSGI_SERVERS = ("gunicorn-gthread", "gunicorn-gevent")


class Server:
    """A running server: its address, its process and what it wrote."""

    def __init__(self, kind: str, port: int, process: Process) -> None:
        self.kind = kind
        self.host = "127.0.0.1"
        self.port = port
        self.process = process

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    @property
    def output(self) -> str:
        return self.process.output

    def terminate(self, seconds: float = 10) -> int:
        """SIGTERM, then SIGKILL after `seconds`; returns the exit code. The with statement does the same at its end."""
        return self.process.terminate(seconds)


@contextmanager
def serve(
    kind: str,
    app: str,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    arguments: Sequence[str] = (),
    port: int | None = None,
    seconds: float = 100,
) -> Iterator[Server]:
    """Run `app` and yield once the server accepts connections.

    Args:
        kind: A key of `COMMANDS`.
        app: `"module:attribute"`.
        env: Added to the environment.
        cwd: The project's root by default.
        arguments: Further arguments of the server, for instance `["--workers", "2"]`.
        port: To come back on the port of an earlier server; a free one by default.
        seconds: The longest wait for the first connection.
    """
    port = port or free_port()
    command = [part.format(app=app, port=port) for part in COMMANDS[kind]]
    process = Process([*command, *arguments], env=env, cwd=cwd)
    process.wait_until_accepting(port, seconds)
    try:
        yield Server(kind, port, process)
    finally:
        process.terminate(3)
