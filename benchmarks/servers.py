"""Who is measured: how each server is started, what its readers ask for, and how it is published to."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.process import Process, free_port
from tests.support.requires import find_nginx

HERE = Path(__file__).parent
NCHAN = ("/usr/lib/nginx/modules/ngx_nchan_module.so", "/usr/share/nginx/modules/ngx_nchan_module.so")

_UVICORN = ("{python}", "-m", "uvicorn", "{app}", "--port", "{port}", "--no-access-log", "--log-level", "warning",
            "--backlog", "4096")  # fmt: skip
_GUNICORN = ("{python}", "-m", "gunicorn", "{app}", "--bind", "127.0.0.1:{port}", "--backlog", "4096",
             "--worker-tmp-dir", "/dev/shm", "--log-level", "error", "--graceful-timeout", "1",
             "--timeout", "300")  # fmt: skip
_GEVENT = (*_GUNICORN, "--worker-class", "gevent", "--worker-connections", "20000")


@dataclass(frozen=True)
class Server:
    """One server.

    Attributes:
        name: on the command line.
        title: in the report.
        command: `{python}`, `{app}` and `{port}` are filled in.
        app: "module:attribute", or a file.
        publish: how events reach it; a key of `benchmarks.publish.TARGETS`.
        path: what a reader asks for; `{channel}` is filled in. Ours take several channels.
        peer: it runs in the peers' environment.
        silent_head: it sends nothing before the first event.
        headers: lines that its readers' requests hold besides.
        environment: of its process.
        broker: a kind of `benchmarks.brokers.broker`.
    """

    name: str
    title: str
    command: tuple[str, ...]
    app: str
    publish: str = "redis"
    path: str = "/events/{channel}"
    peer: bool = True
    silent_head: bool = False
    headers: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    broker: str = "redis"

    @property
    def ours(self) -> bool:
        return self.publish == "bridge"

    def paths(self, channels: int, per_reader: int = 1) -> list[str]:
        """What the readers ask for, in turn."""
        if per_reader == 1:
            return [self.path.format(channel=f"c{number}") for number in range(channels)]
        if not self.ours:
            raise ValueError(f"only our servers put several channels on one stream, {self.name} does not")
        return ["/?" + "&".join(f"channel=c{number}" for number in range(per_reader))]


def _own(name: str, title: str, command: tuple[str, ...], app: str) -> Server:
    return Server(name, title, command, f"benchmarks.sites.{app}", "bridge", "/?channel={channel}", peer=False)


_RAW = _own("ours", "sse_bridge, ASGI", _UVICORN, "asgi:app")
_GZIP = {"SSE_BRIDGE_COMPRESSION": "gzip"}
_TWO_WORKERS = (*_UVICORN, "--workers", "2")
_GTHREAD = (*_GUNICORN, "--worker-class", "gthread", "--threads", "520")  # a thread per reader of F7, and some

SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        _RAW,
        replace(
            _RAW, name="ours-gzip", title="sse_bridge, gzip", headers=("Accept-Encoding: gzip",), environment=_GZIP
        ),
        replace(
            _RAW, name="ours-cluster", title="sse_bridge, 2 workers, Cluster", command=_TWO_WORKERS, broker="cluster"
        ),
        replace(
            _RAW, name="ours-sentinel", title="sse_bridge, 2 workers, Sentinel", command=_TWO_WORKERS, broker="sentinel"
        ),
        _own("ours-django", "sse_bridge, Django view", _UVICORN, "django_views:app"),
        _own("ours-flask", "sse_bridge, Flask view", _UVICORN, "flask_views:asgi"),
        _own("ours-gevent", "sse_bridge, Flask on gevent", _GEVENT, "flask_views:app"),
        _own("ours-gthread", "sse_bridge, Flask on threads", _GTHREAD, "flask_views:app"),
        Server("raw", "raw ASGI (no library)", _UVICORN, "benchmarks.peers.raw_asgi:app", peer=False),
        Server("nchan", "nchan (C)", (), "nchan.conf", "http", peer=False),
        Server("better-sse", "better-sse (Node)", ("node", "{app}"), str(HERE / "peers/better_sse.mjs"), peer=False),
        Server("litestar", "Litestar channels", _UVICORN, "benchmarks.peers.litestar_channels:app"),
        Server("sse-starlette", "sse-starlette + Redis", _UVICORN, "benchmarks.peers.sse_starlette_redis:app"),
        Server(
            "django-eventstream",
            "django-eventstream",
            _UVICORN,
            "benchmarks.peers.django_eventstream_site:app",
            "django-eventstream",
        ),
        Server(
            "flask-sse",
            "Flask-SSE, gevent",
            _GEVENT,
            "benchmarks.peers.flask_sse_site:app",
            "flask-sse",
            "/events?channel={channel}",
            silent_head=True,
        ),
    )
}


def nchan_module() -> str | None:
    """Where Debian's libnginx-mod-nchan puts it, or BENCH_NCHAN_MODULE."""
    places = (os.environ.get("BENCH_NCHAN_MODULE", ""), *NCHAN)
    return next((place for place in places if place and Path(place).exists()), None)


def missing(server: Server, peers_python: str) -> str | None:
    """What the machine lacks for this server; None if it can run."""
    if server.peer and not Path(peers_python).exists():
        return "the peers' environment: make bench-peers"
    if server.name == "nchan" and not (find_nginx() and nchan_module()):
        return "nginx with nchan (Debian: libnginx-mod-nchan)"
    if server.name == "better-sse" and not (shutil.which("node") and (HERE / "peers/node_modules").exists()):
        return "node, and npm install in benchmarks/peers"
    return None


@contextmanager
def running(server: Server, python: str, redis_url: str) -> Iterator[tuple[Process, int]]:
    """Start it and yield its process and port once it accepts connections."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sse-bridge-bench-") as folder:
        if server.name == "nchan":
            configuration = Path(folder, "nginx.conf")
            text = (HERE / "peers/nchan.conf").read_text()
            configuration.write_text(text.format(port=port, module=nchan_module(), folder=folder))
            command = [str(find_nginx()), "-p", folder, "-e", f"{folder}/error.log", "-c", str(configuration)]
        else:
            command = [part.format(python=python, app=server.app, port=port) for part in server.command]
        environment = {"BENCH_REDIS": redis_url, "SSE_BRIDGE_URL": redis_url, "PORT": str(port), **server.environment}
        process = Process(command, env=environment)
        process.wait_until_accepting(port)
        try:
            yield process, port
        finally:
            process.terminate(3)
